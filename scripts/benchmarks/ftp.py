"""One large file over FTP and over FTPS, to a vsftpd of our own. Its accounts are private files over the system's, which takes
mounts."""
import os
from pathlib import Path

from . import fence
from .ground import GIB, MIB, PYTHON, answers, free_port, until
from .ours import Ours, rule
from .race import BestRatio, Ratio, Row, Side, race

LOGIN, PASSWORD, UID = "packer", "bench-1", 54_321

CONFIGURATION = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=NO
local_enable=YES
write_enable=YES
local_umask=022
pam_service_name=vsftpd
secure_chroot_dir={place}/empty
seccomp_sandbox=NO
xferlog_enable=NO
"""
TLS = """
ssl_enable=YES
force_local_logins_ssl=YES
force_local_data_ssl=YES
require_ssl_reuse=NO
rsa_cert_file={place}/cert.pem
rsa_private_key_file={place}/key.pem
"""
MOUNTS = """
mount --bind "$1/pam.d" /etc/pam.d && mount --bind "$1/passwd" /etc/passwd &&
exec /usr/sbin/vsftpd "$1/$2"
"""
FTPLIB = """
import ftplib, ssl, sys
port, certificate, file, login, password = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
context.check_hostname = False
ftp = ftplib.FTP_TLS(context=context)
ftp.connect("127.0.0.1", int(port))
ftp.login(login, password)
ftp.prot_p()
with open(file, "rb") as source:
    ftp.storbinary("STOR ftp.bin.part", source, 1 << 18)
ftp.rename("ftp.bin.part", "ftp.bin")
ftp.quit()
"""


class Vsftpd:
    """Accounts in `place`; one server in clear and one with TLS, whose logins have `home`."""

    def __init__(self, ground):
        self.ground, self.place, self.home = ground, ground.directory("vsftpd"), ground.directory("vsftpd/home")
        for name in ("empty", "pam.d"):
            (self.place / name).mkdir()
        os.chown(self.home, UID, UID)
        # Nobody but us reaches it, and no side is spared a command by it.
        kinds = ("auth", "account", "session")
        (self.place / "pam.d/vsftpd").write_text("".join(f"{kind} required pam_permit.so\n" for kind in kinds))
        (self.place / "passwd").write_text(
            Path("/etc/passwd").read_text() + f"{LOGIN}:x:{UID}:{UID}::{self.home}:/bin/sh\n")
        self.certificate = self.place / "cert.pem"
        ground.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                   "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                   "-keyout", self.place / "key.pem", "-out", self.certificate)
        self.clear, self.tls = self.start("clear.conf", ""), self.start("tls.conf", TLS)

    def start(self, name, more):
        port = free_port()
        (self.place / name).write_text((CONFIGURATION + more).format(port=port, place=self.place))
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTS, "sh", self.place, name]
        process = self.ground.start(*words)
        until("vsftpd", lambda: process.poll() is None and answers("127.0.0.1", port), 20)
        return port

    def fingerprint(self):
        shown = self.ground.run("openssl", "x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return shown.split("=", 1)[1].strip()


def ftp(ground):
    if not fence.is_private():
        print(" left out: an FTP server with accounts of its own needs root", end="")
        return []
    size = (256 * MIB) if ground.is_quick else GIB
    server = Vsftpd(ground)
    file = ground.random_file(ground.memory / "package/ftp.bin", size)
    there = server.home / "ftp.bin"
    what = "256 MiB" if ground.is_quick else "1 GiB"

    def sides(runs):
        clean, check = (lambda: ground.empty(server.home)), (lambda: ground.same(file, there))
        return [Side(name, run, clean, check) for name, run in runs.items()]

    def ours(name, port, transports, **keys):
        keys = {"login": LOGIN, "password": PASSWORD, "transports": transports, "ftp_port": port, "dest_dir": "~",
                "ssh_port": None, "identity_file": None, "known_hosts": None, **keys}
        made = Ours(ground, name, rule(ground, **keys))
        return lambda: made.send(file)

    def curl(port, *more):
        words = ["curl", "-sS", *more, "--user", f"{LOGIN}:{PASSWORD}", "-T", file, "-Q", "-RNFR ftp.bin.part",
                 "-Q", "-RNTO ftp.bin", f"ftp://127.0.0.1:{port}/ftp.bin.part"]
        return lambda: ground.run(*words)

    def lftp(port, settings):
        put = f"put {file} -o ftp.bin.part && mv ftp.bin.part ftp.bin"
        script = f"{settings}; open -u {LOGIN},{PASSWORD} ftp://127.0.0.1:{port}; {put}"
        return lambda: ground.run("lftp", "--norc", "-c", script)

    clear = sides({
        "ours": ours("ftp", server.clear, "ftp"),
        "curl": curl(server.clear),
        "lftp": lftp(server.clear, "set ftp:ssl-allow no"),
    })
    rounds, unwarmed = ground.rounds(7, 3), 0 if ground.is_quick else 1
    rows = [Row.of(f"{what} over FTP", race(clear, rounds, unwarmed), [Ratio("curl", 1.1)])]
    secure = (f"set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {server.certificate}; "
              "set ssl:check-hostname no")
    tls = sides({
        "ours": ours("ftps", server.tls, "ftps", ftps_fingerprint=server.fingerprint()),
        "curl": curl(server.tls, "--ssl-reqd", "--cacert", server.certificate),
        "lftp": lftp(server.tls, secure),
        "ftplib": lambda: ground.run(PYTHON, "-c", FTPLIB, server.tls, server.certificate, file, LOGIN, PASSWORD),
    })
    taken = race(tls, ground.rounds(5, 2), unwarmed)
    rows.append(Row.of(f"{what} over FTPS", taken, [BestRatio(["curl", "lftp", "ftplib"], 0.9, "the best")]))
    return rows
