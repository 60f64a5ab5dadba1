export class Session {
  readonly name: string;
  readonly pages: object[];
  // So that a sample falls on one now and then.
  visits = 0; clicks = 0; errors = 0; first = 0; last = 0; size = 0; cart = 0; paid = 0; open = 0; shown = 0; sent = 0; seen = 0;

  constructor(name: string) {
    this.name = name;
    this.pages = this.firstPages();
  }

  private firstPages(): object[] {
    return [{ page: '/', at: 1.5 }, { page: '/cart', at: 2.5 }, { page: '/pay', at: 3.5 }];
  }
}

/** As an arrow function, which minifiers name by the variable. */
export const keepCart = (carts: number[][], round: number): void => {
  const cart = new Array<number>(400).fill(round);
  carts.push(cart);
};
