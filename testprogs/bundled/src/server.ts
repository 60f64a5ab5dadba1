// The author's source of dist/app.js: what --source-maps has to find again. Made once, with esbuild 0.28.2 from npm, in this folder:
//
//     esbuild src/server.ts --bundle --minify --platform=node --sourcemap --outfile=dist/app.js
//
// A change of anything here needs that again, as lines are in the test.
import { keepCart, Session } from './session';
import { steps } from '../../v8_protocol';

declare const gc: () => void;

interface Kept {
  sessions: Session[];
  carts: number[][];
  answers: object[];
}

const ROUNDS = 4000;
const kept: Kept = { sessions: [], carts: [], answers: [] };

function rememberAnswer(round: number): void {
  const answer = Array.from({ length: 60 }, (_, row) => ({ row, round }));
  kept.answers.push(answer);
}

async function work(): Promise<object[]> {
  for (let round = 0; round < ROUNDS; round++) {
    for (let user = 0; user < 8; user++) kept.sessions.push(new Session(`user ${user}`));
    keepCart(kept.carts, round);
    rememberAnswer(round);
    [round].forEach((one) => {
      kept.carts.push(new Array<number>(300).fill(one));
    });
    if (round % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  gc();
  gc();
  return [{ sessions: kept.sessions.length }];
}

steps(work);
