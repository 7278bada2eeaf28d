"""A receiver of webhooks, as argv[1] (JSON) says; prints its port and logs each request as a line of JSON.

home, commands      where its files lie, the log
cert, key           speak TLS
answers   [{"status": 200, "body": "ok", "headers": {}}, ...]   one after the other; the last one goes on
secret              that requests are signed with; the log says whether DingTalk's or Feishu's signature is right
hangs               nothing is ever answered
"""
import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

S = json.loads(sys.argv[1])
ANSWERS = S.get("answers", [{"status": 200, "body": "ok"}])
SECRET = S.get("secret", "")


def signature(key, text):
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def is_signed(query, body):
    if "sign" in query:
        stamp = query["timestamp"][0]
        return query["sign"][0] == signature(SECRET, stamp + "\n" + SECRET)
    if isinstance(body, dict) and "sign" in body:
        return body["sign"] == signature(body["timestamp"] + "\n" + SECRET, "")
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = 0

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        body = json.loads(text)
        address = urlsplit(self.path)
        line = {
            # The mark of a secret is not written down.
            "path": address.path.replace("sEcReT-", "(secret) "),
            "type": self.headers["Content-Type"],
            "id": self.headers["X-Notice-Id"],
            "signed": is_signed(parse_qs(address.query), body),
            "body": body,
        }
        answer = ANSWERS[min(Handler.seen, len(ANSWERS) - 1)]
        Handler.seen += 1
        with open(S["commands"], "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if S.get("hangs"):
            time.sleep(10000)
        data = answer.get("body", "").encode()
        self.send_response(answer.get("status", 200))
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", S.get("port", 0)), Handler)
server.daemon_threads = True
if "cert" in S:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(S["cert"], S["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
