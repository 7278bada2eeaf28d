"""Answers for the differential test: Python's own configparser and netrc, one JSON line for each request.

Beside Python's plain answer comes the one it would give with the deliberate differences put in.
"""
import configparser
import inspect
import io
import json
import netrc
import sys
import textwrap


class BarePercent(configparser.BasicInterpolation):
    """A % that neither % nor ( follows stands for itself."""


source = textwrap.dedent(inspect.getsource(configparser.BasicInterpolation._interpolate_some))
head, _ = source.split("        else:\n            raise InterpolationSyntaxError(", 1)
source = head + "        else:\n            accum.append('%')\n            rest = rest[1:]\n"
scope = vars(configparser).copy()
exec(source, scope)
BarePercent._interpolate_some = scope["_interpolate_some"]


def lines_of(error):
    if hasattr(error, "errors"):
        return [line for line, _ in error.errors]
    return [error.lineno]


def read_ini(data, interpolation):
    parser = configparser.ConfigParser(interpolation=interpolation)
    try:
        parser.read_file(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"), "f")
    except configparser.Error as error:
        return {"refused": type(error).__name__, "lines": lines_of(error)}

    def value(section, key):
        try:
            return {"text": parser.get(section, key)}
        except configparser.Error as error:
            return {"error": type(error).__name__}

    return {
        "defaults": list(parser._defaults.items()),
        "sections": [
            {
                "name": name,
                "own": list(parser._sections[name].items()),
                "all": [[key, value(name, key)] for key in parser.options(name)],
            }
            for name in parser.sections()
        ],
    }


def ini(data):
    plain = without_mark = read_ini(data, configparser.BasicInterpolation())
    differences = []
    if data.startswith(b"\xef\xbb\xbf"):
        differences.append("byte order mark")
        data = data[3:]
        without_mark = read_ini(data, configparser.BasicInterpolation())
    meant = read_ini(data, BarePercent()) if b"%" in data else without_mark
    if meant != without_mark:
        differences.append("bare %")
    return {"plain": plain, "meant": meant, "differences": differences}


def open_bytes(data, encoding):
    """Stands in for open() in the netrc module: thousands of real files would take their time."""
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding)


netrc.open = open_bytes


class Lexer(netrc._netrclex):
    """Knows whether the line break behind a token was taken with it."""

    def _read_char(self):
        self.last = super()._read_char()
        return self.last


def whole_line_comments():
    """The module's own parser, comments ending with their line wherever they stand."""
    source = inspect.getsource(netrc.netrc)
    for condition in (
        "if lexer.lineno == saved_lineno and len(tt) == 1:",
        "if lexer.lineno == prev_lineno:",
    ):
        assert source.count(condition) == 1, "Python's netrc has changed"
        source = source.replace(condition, "if lexer.last != '\\n':")
    scope = {**vars(netrc), "_netrclex": Lexer}
    exec(source, scope)
    return scope["netrc"]


WholeLineComments = whole_line_comments()


def read_netrc(data, parser):
    try:
        return {"hosts": parser(data).hosts}
    except netrc.NetrcParseError:
        return {"refused": True}
    except Exception as error:
        # WholeLineComments refuses by an exception of its own scope.
        assert type(error).__name__ == "NetrcParseError", repr(error)
        return {"refused": True}


def netrc_file(data):
    plain = without_mark = read_netrc(data, netrc.netrc)
    differences = []
    if data.startswith(b"\xef\xbb\xbf"):
        differences.append("byte order mark")
        data = data[3:]
        without_mark = read_netrc(data, netrc.netrc)
    meant = read_netrc(data, WholeLineComments) if b"#" in data else without_mark
    if meant != without_mark:
        differences.append("comment behind an empty line, or without a blank")
    return {"plain": plain, "meant": meant, "differences": differences}


def main():
    with open(sys.argv[1], encoding="utf-8") as requests:
        for line in requests:
            request = json.loads(line)
            data = request["text"].encode("utf-8")
            answer = ini(data) if request["kind"] == "ini" else netrc_file(data)
            print(json.dumps(answer))


main()
