"""An SMTP server, as argv[1] (JSON) says; prints its port and logs each mail as a line of JSON.

home, commands      where its files lie, the log
cert, key           STARTTLS is offered; wrapped: TLS from the first byte
login, password     AUTH is offered, under TLS alone, and demanded
refuses   {"RCPT": "550 no such user"}   answers to commands, instead of its own
hangs               nothing is ever said
"""
import base64
import email
import email.policy
import json
import socket
import ssl
import sys
import threading
import time

S = json.loads(sys.argv[1])
CONTEXT = None
if "cert" in S:
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CONTEXT.load_cert_chain(S["cert"], S["key"])


class Caller(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.secure, self.login = sock, False, None
        self.to, self.sender = [], None

    def run(self):
        try:
            if S.get("hangs"):
                time.sleep(10000)
            if S.get("wrapped"):
                self.wrap()
            self.file = self.sock.makefile("rb")
            self.say("220 hello")
            while self.command():
                pass
        except OSError:
            pass
        finally:
            self.sock.close()

    def wrap(self):
        self.sock = CONTEXT.wrap_socket(self.sock, server_side=True)
        self.file = self.sock.makefile("rb")
        self.secure = True

    def say(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def line(self):
        return self.file.readline().decode().rstrip("\r\n")

    def command(self):
        line = self.line()
        word = line.split(" ")[0].upper()
        if not word:
            return False
        if word in S.get("refuses", {}):
            self.say(S["refuses"][word])
        elif word == "EHLO":
            extras = ["8BITMIME"]
            if CONTEXT and not self.secure:
                extras.append("STARTTLS")
            if "login" in S and self.secure:
                extras.append("AUTH PLAIN LOGIN")
            for extra in extras:
                self.say("250-" + extra)
            self.say("250 OK")
        elif word == "STARTTLS":
            self.say("220 go on")
            self.wrap()
        elif word == "AUTH":
            self.auth(line)
        elif word == "MAIL":
            if "login" in S and not self.login:
                self.say("530 authentication required")
            else:
                self.sender = line
                self.say("250 OK")
        elif word == "RCPT":
            self.to.append(line.split(":", 1)[1])
            self.say("250 OK")
        elif word == "DATA":
            self.data()
        elif word == "QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("250 OK")
        return True

    def auth(self, line):
        _, _, answer = base64.b64decode(line.split(" ")[2]).decode().rpartition("\0")
        if answer == S["password"] and self.secure:
            self.login = S["login"]
            self.say("235 welcome")
        else:
            self.say("535 authentication failed for " + line.split(" ")[2] + " " + answer)

    def data(self):
        self.say("354 go on")
        raw = b""
        while (line := self.file.readline()) not in (b".\r\n", b""):
            raw += line[1:] if line.startswith(b"..") else line
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        entry = {
            "secure": self.secure,
            "login": self.login,
            "to": self.to,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "text": mail.get_content(),
        }
        with open(S["commands"], "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        self.say("250 queued")


server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    Caller(server.accept()[0]).start()
