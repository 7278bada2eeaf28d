"""An FTP server that means harm, as argv[1] (JSON) says; prints its port. Text in settings is Latin-1 for bytes.

home, commands         where files lie, the log of command lines
text                   stands in every reply and every line of a listing
replies   {"USER": "331 x"}   answers to commands, instead of its own
cert, key              speak TLS; data_cert, data_key: another certificate on data connections
lowest, highest        versions of TLS: "TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"
ciphers                OpenSSL's list
injected               sent in clear in one piece with the answer to AUTH
bounce    [ip, port]   what PASV tells (EPSV is refused)
endless   "greeting" | command   what never ends: "how" is "line", "lines" or "drip" (a byte every 0.2 s)
endless_store          data connections that were written to go on without end
endless_data           data connections that are read from never end
"""
import json
import os
import socket
import ssl
import sys
import threading
import time

S = json.loads(sys.argv[1])
TEXT = S.get("text", "")


def context(cert, key):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers(S.get("ciphers", "DEFAULT") + ":@SECLEVEL=0")
    made.minimum_version = ssl.TLSVersion[S.get("lowest", "TLSv1_2")]
    made.maximum_version = ssl.TLSVersion[S.get("highest", "TLSv1_3")]
    made.load_cert_chain(cert, key)
    return made


CONTROL = context(S["cert"], S["key"]) if "cert" in S else None
DATA = context(S["data_cert"], S["data_key"]) if "data_cert" in S else CONTROL


class Caller(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.secured, self.listener, self.rest = sock, False, None, 0
        self.left = b""

    def run(self):
        try:
            self.say("", "220 hello " + TEXT)
            while self.command():
                pass
        except OSError:
            pass
        finally:
            self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def say(self, command, text):
        text = S.get("replies", {}).get(command, text)
        line = text.encode("latin-1")
        if S.get("endless") == (command or "greeting"):
            if S["how"] == "line":
                self.send(line)
                while True:
                    self.send(b"x" * 65536)
            if S["how"] == "lines":
                self.send(line[:3] + b"-\r\n")
                while True:
                    self.send(b" more\r\n" * 8192)
            self.send(line)
            while True:
                self.send(b".")
                time.sleep(0.2)
        self.send(line + b"\r\n")

    def command(self):
        while b"\n" not in self.left:
            piece = self.sock.recv(65536)
            if not piece:
                return False
            self.left += piece
        line, self.left = self.left.split(b"\n", 1)
        line = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
        with open(S["commands"], "a", encoding="utf-8", errors="surrogateescape") as log:
            log.write(line + "\n")
        command, _, argument = line.partition(" ")
        told = S.get("replies", {}).get(command)
        act = getattr(self, "do_" + command, None)
        if told and told[0] in "45":
            self.say(command, told)
        elif act:
            act(command, argument)
        else:
            self.say(command, "502 what? " + TEXT)
        return command != "QUIT"

    def path(self, argument):
        return os.path.join(S["home"], argument.lstrip("/"))

    def do_AUTH(self, command, _):
        if not CONTROL:
            return self.say(command, "502 no " + TEXT)
        self.send(b"234 go on\r\n" + S.get("injected", "").encode("latin-1"))
        self.sock = CONTROL.wrap_socket(self.sock, server_side=True)
        self.left = b""

    def fine(self, command, _):
        self.say(command, "200 fine " + TEXT)

    do_PBSZ = do_TYPE = do_OPTS = do_SITE = fine

    def do_PROT(self, command, _):
        self.secured = True
        self.say(command, "200 fine " + TEXT)

    def do_USER(self, command, _):
        self.say(command, "331 who? " + TEXT)

    def do_PASS(self, command, _):
        self.say(command, "230-hello " + TEXT + "\r\n230 done " + TEXT)

    def do_FEAT(self, command, _):
        self.say(command, "211-features " + TEXT + "\r\n " + TEXT + "\r\n211 end")

    def do_PWD(self, command, _):
        self.say(command, '257 "/" ' + TEXT)

    def do_CWD(self, command, argument):
        found = os.path.isdir(self.path(argument))
        self.say(command, ("250 there " if found else "550 not there ") + TEXT)

    def do_MKD(self, command, argument):
        os.mkdir(self.path(argument))
        self.say(command, "257 made " + TEXT)

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self.listener.getsockname()[1]

    def do_EPSV(self, command, _):
        if "bounce" in S:
            return self.say(command, "500 no")
        self.say(command, "229 entering (|||%d|)" % self.listen())

    def do_PASV(self, command, _):
        port = self.listen()
        address, port = S.get("bounce", ["127.0.0.1", port])
        self.say(command, "227 entering (%s,%d,%d)" % (address.replace(".", ","), port >> 8, port & 255))

    def data(self):
        self.send(b"150 here it comes " + TEXT.encode("latin-1") + b"\r\n")
        sock, _ = self.listener.accept()
        self.listener.close()
        return DATA.wrap_socket(sock, server_side=True) if self.secured else sock

    def do_REST(self, command, argument):
        self.rest = int(argument)
        self.say(command, "350 " + TEXT)

    def do_STOR(self, command, argument):
        data = self.data()
        with open(self.path(argument), "wb") as file:
            while True:
                piece = data.recv(65536)
                if not piece:
                    break
                file.write(piece)
        while S.get("endless_store"):
            data.sendall(b"x" * 65536)
        data.close()
        self.say(command, "226 got it " + TEXT)

    def gives(self, command, content):
        data = self.data()
        data.sendall(content)
        while S.get("endless_data"):
            data.sendall(b"-rw-r--r-- 1 u g 5 Jan 01 00:00 x\r\n" * 4096)
        data.close()
        self.say(command, "226 sent " + TEXT)

    def do_LIST(self, command, argument):
        line = "-rw-r--r-- 1 u g 5 Jan 01 00:00 " + os.path.basename(argument) + TEXT + "\r\n"
        self.gives(command, line.encode("latin-1", "replace"))

    def do_RETR(self, command, argument):
        with open(self.path(argument), "rb") as file:
            self.gives(command, file.read())

    def do_SIZE(self, command, argument):
        try:
            self.say(command, "213 %d" % os.path.getsize(self.path(argument)))
        except OSError:
            self.say(command, "550 no such file " + TEXT)

    def do_RNFR(self, command, argument):
        self.source = self.path(argument)
        self.say(command, "350 to? " + TEXT)

    def do_RNTO(self, command, argument):
        try:
            os.rename(self.source, self.path(argument))
        except OSError:
            return self.say(command, "553 no " + TEXT)
        self.say(command, "250 renamed " + TEXT)

    def do_DELE(self, command, argument):
        try:
            os.remove(self.path(argument))
            self.say(command, "250 removed " + TEXT)
        except OSError:
            self.say(command, "550 no such file " + TEXT)

    def do_QUIT(self, command, _):
        self.say(command, "221 bye " + TEXT)


server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    Caller(server.accept()[0]).start()
