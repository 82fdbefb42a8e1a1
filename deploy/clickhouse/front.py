#!/usr/bin/env python3
"""A double of ClickHouse's HTTP transport in front of the real engine (PyPI: chdb-core), for tests.

The double is the transport only: how requests are read, who may ask, which headers and status codes
an answer has. What a statement means, which parts it writes and what a killed process leaves behind
is the engine's own, the same code that a server runs. It speaks the part of the interface that
Carom uses, and nothing here is tuned for anything but tests.

    front.py --data DIR [--listen 127.0.0.1:0] [--user NAME --password-file FILE] [--threads 8]
             [--tls-listen 127.0.0.1:0 --cert FILE --key FILE]

It prints one line, `http://127.0.0.1:PORT`, once it answers, and with --tls-listen before it another one,
`https://127.0.0.1:PORT`, as a server has a port for each. SIGTERM and SIGINT stop it cleanly; SIGKILL leaves
the data as it would leave a server's.

- The engine takes several statements at once, each on a connection of its own; there are as many as
  `--threads`, and who finds none free waits, as with `max_concurrent_queries_for_user` and
  `queue_max_wait_ms`.
- Settings and `param_*` come in the URL. A connection's settings are set before a statement and back
  to their defaults as soon as the next one does not have them.
- An INSERT's body is handed to the engine as a file, as it came: with `Content-Encoding: zstd` or
  `gzip` the engine unpacks it.
- `KILL QUERY WHERE startsWith(query_id, '...') SYNC` waits until such statements have ended: the engine has no
  names for statements from outside, and what counts to a caller is that they do not run any more.
- Not there: sessions, `X-ClickHouse-Progress`, quotas, users with rights, Keeper.
"""

import argparse
import gzip
import hmac
import json
import os
import queue
import re
import signal
import ssl
import sys
import tempfile
import threading
import urllib.parse
import uuid
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Parameters of a URL that are no settings.
OWN = {"query", "database", "default_format", "user", "password", "query_id", "session_id", "compress",
       "decompress", "wait_end_of_query", "buffer_size"}
# Bytes of a request's body, at most.
BODY_MAX = 1 << 30
# Status codes by the codes of exceptions, after exceptionCodeToHTTPStatus of the server.
STATUS = {
    401: {194},
    403: {192, 193, 497, 516},
    400: {6, 26, 27, 38, 41, 43, 53, 62, 70, 72, 117, 130, 131, 386, 441, 452, 456, 469, 636},
    404: {16, 36, 46, 47, 50, 56, 57, 60, 63, 81, 115, 218},
    408: {159, 160},
    413: {307},
    501: {48},
    503: {202, 210},
}
INSERT = re.compile(r"\s*INSERT\s+INTO\s.*?(\bFORMAT\s+\w+)\s*;?\s*$", re.I | re.S)
KILL = re.compile(r"\s*KILL\s+QUERY\s+WHERE\s+startsWith\(query_id,\s*'([^']*)'\)\s+SYNC\s*$", re.I)
READS = re.compile(r"\s*(SELECT|WITH|SHOW|DESCRIBE|EXISTS|EXPLAIN)\b", re.I)
CODE = re.compile(r"Code: (\d+)\.")


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Session:
    """A connection to the engine, and the settings that are set on it."""

    def __init__(self, chdb, path):
        self.connection = chdb.connect(path)
        self.settings = {}
        self.database = "default"

    def prepare(self, database, settings):
        if database != self.database:
            self.connection.query("USE `%s`" % database.replace("`", "\\`"), "Null")
            self.database = database
        changes = ["%s = %s" % (name, quoted(value)) for name, value in settings.items()
                   if self.settings.get(name) != value]
        changes += ["%s = DEFAULT" % name for name in self.settings if name not in settings]
        # Should one of them be refused, none of what is noted may be taken for set.
        self.settings = dict.fromkeys([*self.settings, *settings])
        if changes:
            self.connection.query("SET " + ", ".join(changes), "Null")
        self.settings = dict(settings)


class Engine:
    """The sessions, and what runs."""

    def __init__(self, path, threads):
        import chdb

        os.makedirs(path, exist_ok=True)
        self.free = queue.LifoQueue()
        for _ in range(threads):
            self.free.put(Session(chdb, path))
        self.threads = threads
        self.running = {}
        self.lock = threading.Condition()
        self.bodies = tempfile.mkdtemp(prefix="carom-clickhouse-")

    def run(self, query_id, text, fmt, database, settings, params, body, encoding):
        killed = KILL.match(text)
        if killed:
            self.wait_for(killed.group(1))
            return b"", {}
        with self.lock:
            if query_id in self.running:
                raise RuntimeError("Code: 216. DB::Exception: Query with id = %s is already running."
                                   " (QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)" % query_id)
            self.running[query_id] = True
        try:
            return self.ask(text, fmt, database, settings, params, body, encoding)
        finally:
            with self.lock:
                del self.running[query_id]
                self.lock.notify_all()

    def wait_for(self, start):
        with self.lock:
            self.lock.wait_for(lambda: not any(name.startswith(start) for name in self.running))

    def ask(self, text, fmt, database, settings, params, body, encoding):
        session = self.free.get()
        path = None
        try:
            session.prepare(database, settings)
            insert = INSERT.match(text)
            if insert:
                path = os.path.join(self.bodies, uuid.uuid4().hex)
                with open(path, "wb") as file:
                    file.write(body)
                packed = " COMPRESSION %s" % quoted(encoding) if encoding else ""
                text = "%s FROM INFILE %s%s %s" % (
                    text[:insert.start(1)], quoted(path), packed, insert.group(1))
            result = session.connection.query(text, fmt, params=params or None)
            summary = {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read()),
                       "written_rows": str(result.rows_read() if insert else 0),
                       "elapsed_ns": str(int(result.elapsed() * 1e9))}
            return result.bytes() or b"", summary
        finally:
            if path:
                os.unlink(path)
            self.free.put(session)

    def close(self):
        for _ in range(self.threads):
            self.free.get().connection.close()
        os.rmdir(self.bodies)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.body()
        if body is None:
            return
        if url.path in ("/ping", "/"):
            if url.path == "/ping" or not (url.query or body):
                return self.answer(200, b"Ok.\n", {})
        if url.path not in ("/", ""):
            return self.answer(404, b"There is no handle %s\n" % url.path.encode(), {})
        given = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        query_id = given.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Server-Display-Name": "double"}
        if not self.may_ask(given):
            return self.failed("Code: 516. DB::Exception: %s: Authentication failed: password is "
                               "incorrect, or there is no user with such name. "
                               "(AUTHENTICATION_FAILED)" % self.user(given)[0], headers)
        text = given.get("query", "")
        if not INSERT.match(text):
            text, body = text + ("\n" if text and body else "") + body.decode(), b""
        if self.command == "GET" and not READS.match(text):
            return self.failed("Code: 164. DB::Exception: Cannot execute query in readonly mode. For "
                               "queries over HTTP, method GET implies readonly. (READONLY)", headers)
        settings = {name: value for name, value in given.items()
                    if name not in OWN and not name.startswith("param_")}
        params = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        fmt = given.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        database = given.get("database") or self.headers.get("X-ClickHouse-Database") or "default"
        encoding = self.headers.get("Content-Encoding", "")
        try:
            answer, summary = self.server.engine.run(
                query_id, text, fmt, database, settings, params, body, encoding)
        except Exception as error:
            return self.failed(str(error), headers)
        headers["X-ClickHouse-Summary"] = json.dumps(summary)
        headers["X-ClickHouse-Format"] = fmt
        if "gzip" in self.headers.get("Accept-Encoding", "") and given.get(
                "enable_http_compression") == "1":
            answer, headers["Content-Encoding"] = gzip.compress(answer, 1), "gzip"
        self.answer(200, answer, headers)

    do_POST = do_GET

    def body(self):
        """The body; None where it cannot be read, which was answered."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts, size = [], 0
            while True:
                length = int(self.rfile.readline(64).split(b";")[0], 16)
                chunk = self.rfile.read(length)
                self.rfile.readline(8)
                if not length:
                    return b"".join(parts)
                if len(chunk) < length:
                    break
                size += length
                if size > BODY_MAX:
                    break
                parts.append(chunk)
        else:
            length = int(self.headers.get("Content-Length") or 0)
            if length <= BODY_MAX:
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                body = self.rfile.read(length)
                if len(body) == length:
                    return body
        # The caller went away, or sends more than is taken: nothing is done with a part.
        self.close_connection = True
        return None

    def user(self, given):
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            name, _, password = b64decode(basic[6:]).decode().partition(":")
            return name, password
        name = self.headers.get("X-ClickHouse-User") or given.get("user") or "default"
        return name, self.headers.get("X-ClickHouse-Key") or given.get("password") or ""

    def may_ask(self, given):
        name, password = self.user(given)
        return name == self.server.user and hmac.compare_digest(
            password.encode(), self.server.password.encode())

    def failed(self, error, headers):
        found = CODE.search(error)
        code = int(found.group(1)) if found else 1002
        status = next((status for status, codes in STATUS.items() if code in codes), 500)
        headers["X-ClickHouse-Exception-Code"] = str(code)
        self.answer(status, error.encode() + b"\n", headers)

    def answer(self, status, body, headers):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A caller that went away is no event; the rest is written as usual."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError, ssl.SSLError)):
            super().handle_error(request, client_address)


def listening(text, args, engine):
    """A server on HOST:PORT; everything but its port is the same for all."""
    host, _, port = text.rpartition(":")
    server = Server((host, int(port)), Handler)
    server.engine, server.user, server.password = engine, args.user, ""
    if args.password_file:
        with open(args.password_file) as file:
            server.password = file.read().strip()
    return server


def main():
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface for tests")
    parser.add_argument("--data", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--user", default="default")
    parser.add_argument("--password-file")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--tls-listen")
    parser.add_argument("--cert", help="with its chain, in PEM")
    parser.add_argument("--key")
    args = parser.parse_args()
    engine = Engine(os.path.abspath(args.data), args.threads)
    server = listening(args.listen, args, engine)
    if args.tls_listen:
        sealed = listening(args.tls_listen, args, engine)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
        # A handshake is the connection's own thread's: one that hangs holds up no others.
        sealed.socket = context.wrap_socket(
            sealed.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=sealed.serve_forever, daemon=True).start()
        print("https://%s:%d" % sealed.server_address, flush=True)
    stop = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print("http://%s:%d" % server.server_address, flush=True)
    server.serve_forever()
    engine.close()


if __name__ == "__main__":
    main()
