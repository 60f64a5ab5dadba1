"""A profile store for tests: takes what is pushed to it as Pyroscope does, and writes each profile to the folder.

python3 profile_store.py FOLDER [REFUSALS]: prints its port, and refuses that many requests first.
"""

import base64
import http.server
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
refusals = int(sys.argv[2]) if len(sys.argv) > 2 else 0
taken = 0


class Store(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global refusals, taken
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if refusals > 0:
            refusals -= 1
            self.answer(503, b"too many profiles")
            return
        if self.path != "/below/push.v1.PusherService/Push":
            self.answer(404, b"not here")
            return
        if self.headers["Authorization"] != "Basic " + base64.b64encode(b"some:body").decode():
            self.answer(401, b"who is it?")
            return
        for series in body["series"]:
            labels = {label["name"]: label["value"] for label in series["labels"]}
            for sample in series["samples"]:
                name = f"{taken}.{labels['service_name']}.{labels.get('pid', 'others')}.{sample['ID']}.pb.gz"
                (folder / name).write_bytes(base64.b64decode(sample["rawProfile"], validate=True))
        taken += 1
        self.answer(200, b"{}")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Store)
print(server.server_address[1], flush=True)
server.serve_forever()
