"""An FTP server with the peculiarities that argv[1] (JSON) names; prints its port.

home, commands, login, password   where files lie, the log of command lines, who may come in
cert, key                         speak TLS
tls13                             speak TLS 1.3 only
refuse    {"EPSV": "500 no"}      commands answered so, before anything else
hide      ["SIZE"]                features that FEAT leaves out
masquerade                        the address that PASV tells
account                           what ACCT has to say after PASS
digest    "XSHA256" | "HASH"      compute SHA-256 under that command; "lie" as digest_value falsifies it
rename_over false                 refuse RNTO onto a file
rename_fails [1, 3]               refuse the first and the third RNTO
cut_after N                       lose control and data connection after N bytes of the first upload
stall true                        never read from a data connection
address                           listen there instead of on 127.0.0.1
store_restart                     answer STOR after REST so; or "forget": store from the beginning
swallow_after N                   keep N bytes of the first upload and report success
passive   [50000, 50001]          ports for data connections
"""
import hashlib
import json
import logging
import os
import sys
import time

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.servers import FTPServer

S = json.loads(sys.argv[1])
logging.disable(logging.CRITICAL)
base, dtp = FTPHandler, DTPHandler
if S.get("cert"):
    from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler
    base, dtp = TLS_FTPHandler, TLS_DTPHandler
once = {"left": S.get("cut_after"), "keep": S.get("swallow_after"), "renames": 0}


class Data(dtp):
    def handle_read(self):
        if S.get("stall"):
            time.sleep(3600)
        if once["left"] is None:
            return super().handle_read()
        before = self.tot_bytes_received
        super().handle_read()
        once["left"] -= self.tot_bytes_received - before
        if once["left"] <= 0:
            once["left"] = None
            control = self.cmd_channel
            self.close()
            control.close()

    if not S.get("cert"):
        handle_read_event = handle_read

    def close(self):
        if once["keep"] is not None and self.receive and self.file_obj and not self.file_obj.closed:
            self.file_obj.flush()
            os.truncate(self.file_obj.fileno(), once["keep"])
            once["keep"] = None
        super().close()


class Handler(base):
    proto_cmds = dict(base.proto_cmds)
    for name in ("ACCT", "XSHA256", "HASH"):
        proto_cmds[name] = dict(perm=None, auth=name != "ACCT", arg=True, help="")

    def pre_process_command(self, line, cmd, arg):
        with open(S["commands"], "a", encoding="utf-8", errors="surrogateescape") as log:
            log.write(line + "\n")
        answer = S.get("refuse", {}).get(cmd)
        if answer:
            return self.respond(answer)
        super().pre_process_command(line, cmd, arg)

    def push(self, text):
        for feature in S.get("hide", []):
            text = text.replace(b" " + feature.encode() + b"\r\n", b"") if isinstance(text, bytes) else \
                text.replace(" " + feature + "\r\n", "")
        if S.get("digest") and "211-Features" in str(text) and not isinstance(text, bytes):
            line = " XSHA256\r\n" if S["digest"] == "XSHA256" else " HASH SHA-1*;SHA-256\r\n"
            text = text.replace("211-Features supported:\r\n", "211-Features supported:\r\n" + line)
        super().push(text)

    def ftp_PASS(self, line):
        if S.get("account") and line == S["password"]:
            self.asked = line
            return self.respond("332 Need account for login.")
        super().ftp_PASS(line)

    def ftp_ACCT(self, line):
        if line != S.get("account"):
            return self.respond("530 Wrong account " + line)
        super().ftp_PASS(self.asked)

    def ftp_OPTS(self, line):
        if line == "HASH SHA-256":
            return self.respond("200 SHA-256")
        super().ftp_OPTS(line)

    def digest(self, line, before, after=""):
        path = self.fs.ftp2fs(line)
        if S.get("digest_value") == "lie":
            value = "0" * 64
        else:
            with open(path, "rb") as file:
                value = hashlib.sha256(file.read()).hexdigest()
        self.respond(before + value.upper() + after)

    def ftp_XSHA256(self, line):
        self.digest(line, "250 ")

    def ftp_HASH(self, line):
        self.digest(line, "213 SHA-256 0-1 ", " " + os.path.basename(line))

    def ftp_STOR(self, file, mode="w"):
        answer = S.get("store_restart")
        if answer and self._restart_position:
            self._restart_position = 0
            if answer != "forget":
                return self.respond(answer)
        return super().ftp_STOR(file, mode)

    def ftp_RNTO(self, path):
        once["renames"] += 1
        if once["renames"] in S.get("rename_fails", []):
            return self.respond("553 Not now.")
        if S.get("rename_over") is False and os.path.isfile(path):
            return self.respond("553 File exists.")
        super().ftp_RNTO(path)


authorizer = DummyAuthorizer()
authorizer.add_user(S["login"], S["password"], S["home"], perm="elradfmwMT")
Handler.authorizer = authorizer
Handler.dtp_handler = Data
Handler.auth_failed_timeout = 0
Handler.max_login_attempts = 10
if S.get("passive"):
    Handler.passive_ports = S["passive"]
if S.get("masquerade"):
    Handler.masquerade_address = S["masquerade"]
if S.get("cert"):
    from OpenSSL import SSL
    Handler.certfile, Handler.keyfile = S["cert"], S["key"]
    Handler.tls_control_required = Handler.tls_data_required = True
    if S.get("tls13"):
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.use_certificate_chain_file(S["cert"])
        context.use_privatekey_file(S["key"])
        Handler.ssl_context = context
server = FTPServer((S.get("address", "127.0.0.1"), 0), Handler)
print(server.address[1], flush=True)
server.serve_forever(handle_exit=False)
