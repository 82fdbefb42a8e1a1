#!/usr/bin/env python3
"""Lets a fault befall ClickHouse, or the way to it, under load, takes it back, and compares.

    faults.py --carom PROGRAM [--seconds 20] [--seed 1] away|quota|full|torn|network|stop|view|old...

away     it is killed and stays away: redirects go on as before, memory stays, all is stored afterwards
quota    the same with an outbox of 96 KiB: detail is given up, counted and shown, no click is
full     others take the last room of its disk, again and again; statistics are answered meanwhile. Its folder is
         a tmpfs of 256 MiB, which root alone may mount
torn     the same, and for half of the time they give a part back at once, so that what it began to write with room
         fails in the middle. An engine that does not survive that itself fails it: docs/RELIABILITY.md
network  behind a proxy that cuts at any byte, swallows requests and answers, sends a request twice on another
         connection, is slow, resets
stop     it is stopped (SIGSTOP), and what was under way goes on after others have tried it again
view     somebody adds a view that fails, adds a column and takes it away, and merges everything
old      somebody drops a month, and lets the server delete what is older than 30 days

Prints a line of JSON for each; exit code 1 if a promise was broken, 2 if the fault did not befall anything.
"""

import argparse
import errno
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

# The folder is the repository's: nothing compiled is left in it.
sys.dont_write_bytecode = True

from rig import (Carom, Engine, Visitors, audited, is_kept, require_faketime, settled, settled_by_link, until)

CONNECTIONS = 4
# Seconds after the end of a fault until a fresh click has to be in the statistics.
FRESH_MAX = 5
DRAIN_MAX = 300


class Proxy:
    """Passes connections on to a port; something befalls one request in so many, unless it is calm."""

    FAULTS = ["cut", "mute", "deaf", "twice", "slow", "reset"]
    ONE_IN = 6

    def __init__(self, to, chance):
        self.to, self.chance, self.is_calm = to, chance, False
        self.befallen = dict.fromkeys(self.FAULTS, 0)
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """One request after the other, each with a fault of its own."""
        server = None
        try:
            while True:
                request = message(client)
                if not request:
                    return
                fault = "none"
                if not self.is_calm and self.chance.randrange(self.ONE_IN) == 0:
                    # One kind after the other: few are enough for all.
                    fault = self.FAULTS[sum(self.befallen.values()) % len(self.FAULTS)]
                    self.befallen[fault] += 1
                self.requests += not self.is_calm
                if fault == "reset":
                    return reset(client)
                server = server or socket.create_connection(("127.0.0.1", self.to), 5)
                if fault == "slow":
                    time.sleep(0.3)
                if fault == "cut":
                    # The request ends anywhere, also within its body.
                    server.sendall(request[:self.chance.randrange(1, len(request))])
                    return reset(client)
                if fault == "mute":
                    # It arrives, and nobody hears of it until the caller gives up.
                    server.sendall(request)
                    message(server)
                    time.sleep(3)
                    return reset(client)
                if fault == "deaf":
                    time.sleep(3)
                    return reset(client)
                if fault == "twice":
                    threading.Thread(target=self.repeat, args=(request,), daemon=True).start()
                server.sendall(request)
                answer = message(server)
                if not answer:
                    return
                client.sendall(answer)
        except OSError:
            pass
        finally:
            client.close()
            if server:
                server.close()

    def repeat(self, request):
        """The same request on another connection, at the same time or a little later."""
        time.sleep(self.chance.uniform(0, 0.3))
        try:
            with socket.create_connection(("127.0.0.1", self.to), 5) as other:
                other.sendall(request)
                message(other)
        except OSError:
            pass


def message(connection):
    """A whole message of HTTP with a Content-Length; b'' at the end of the connection."""
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(65536)
        if not more:
            return b""
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                   if line.startswith(b"content-length:")), 0)
    parts, size = [body], len(body)
    while size < length:
        more = connection.recv(1 << 20)
        if not more:
            return b""
        parts.append(more)
        size += len(more)
    return head + b"\r\n\r\n" + b"".join(parts)


def reset(connection):
    """RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


class Ground:
    """An engine, a carom, a link for each connection. The engine has a disk of its own, if its size is given."""

    def __init__(self, args, settings=(), proxied=False, disk=None):
        self.folder = tempfile.mkdtemp(prefix="carom-faults-")
        self.disk = os.path.join(self.folder, "engine") if disk else None
        if self.disk:
            os.mkdir(self.disk)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s" % disk, "none", self.disk], check=True)
        self.engine = Engine(self.folder)
        self.proxy = Proxy(self.engine.port, random.Random(args.seed)) if proxied else None
        port = self.proxy.port if self.proxy else self.engine.port
        if self.proxy:
            self.proxy.is_calm = True
        self.carom = Carom(self.folder, args.carom, port, settings)
        self.key = self.carom.key()
        self.links = self.carom.links(self.key, CONNECTIONS + 1)

    def visitors(self, **how):
        return Visitors(self.carom, [code for code, _ in self.links[1:]], CONNECTIONS, **how).start()

    def fresh(self):
        """Seconds until one more click is in the statistics."""
        code, link = self.links[0]
        asked = lambda: self.carom.call(self.key, "/api/v1/links/%d/stats" % link)
        clicks = lambda answer: answer[1]["totals"]["clicks"] if answer[0] == 200 else -1
        until(lambda: clicks(asked()) >= 0, "statistics")
        before, one = clicks(asked()), Visitors(self.carom, [code], 1, tag="f")
        one.ask(0)
        begun = time.monotonic()
        until(lambda: clicks(asked()) > before, "a fresh click", every=0.02)
        return round(time.monotonic() - begun, 2), one

    def fill(self, free):
        """Takes all of the disk but so many bytes; a file that grows is what fills a disk."""
        with open(os.path.join(self.disk, "other"), "ab", buffering=0) as file:
            try:
                while os.statvfs(self.disk).f_bavail * os.statvfs(self.disk).f_frsize > free:
                    file.write(b"\0" * 65536)
            except OSError as error:
                # The engine writes, too.
                if error.errno != errno.ENOSPC:
                    raise

    def empty(self, size=None):
        """Gives so many bytes back, or all."""
        path = os.path.join(self.disk, "other")
        os.truncate(path, 0 if size is None else max(0, os.path.getsize(path) - size))

    def said(self, text):
        """How often the log of carom has it."""
        with open(os.path.join(self.folder, "carom.log"), errors="replace") as file:
            return len(re.findall(text, file.read()))

    def end(self):
        self.carom.kill()
        self.engine.go_on()
        self.engine.kill()
        if self.disk:
            subprocess.run(["umount", self.disk], check=True)


def calm_and_fault(ground, visitors, seconds, begin, end):
    """Lets visitors come for a while, then with the fault. What was seen of both."""
    time.sleep(5)
    calm_p99, before, rss = visitors.p99_ms(), min(visitors.sent), ground.carom.rss_mib()
    begin()
    time.sleep(seconds)
    status, problem = ground.carom.call(ground.key, "/api/v1/stats")
    metrics = ground.carom.metrics()
    seen = {
        "p99_ms": [calm_p99, visitors.p99_ms(before)], "rss_mib": [rss, ground.carom.rss_mib()],
        "stats_status": status, "stats_code": problem.get("code"),
        "outbox": [metrics.get("carom_edge_batches_waiting"), metrics.get("carom_edge_outbox_bytes")],
        "clicks_a_second": round(visitors.count() / (5 + seconds)),
    }
    end()
    return seen


def judged(ground, visitors, by_link=False, others=()):
    """Stops the visitors, and compares."""
    visitors.stop()
    if by_link:
        report = settled_by_link(ground.engine, visitors, ground.links[1:], DRAIN_MAX)
    else:
        report = settled(ground.engine, [visitors, *others], DRAIN_MAX)
    report["other_answers"] = sum(visitors.others) + sum(visitors.cut)
    return report


def away(args):
    ground = Ground(args)
    try:
        visitors = ground.visitors(rate=500)
        back = []

        def come():
            ground.engine.start()
            back.append(time.monotonic())

        seen = calm_and_fault(ground, visitors, args.seconds, ground.engine.kill, come)
        waiting = lambda: ground.carom.metrics().get("carom_edge_batches_waiting", 0)
        until(lambda: waiting() <= 2, "the backlog is gone", DRAIN_MAX)
        seen["caught_up_s"] = round(time.monotonic() - back[0], 1)
        fresh, one = ground.fresh()
        report = {"trial": "away", **seen, "fresh_s": fresh, **judged(ground, visitors, others=[one])}
        report.update(audited(ground.engine, ground.carom))
        happened = seen["outbox"][0] > 2
        # Catching up at five times the rate at which clicks come, or faster.
        kept = not report["other_answers"] and fresh <= FRESH_MAX and seen["caught_up_s"] <= args.seconds / 5 + 5
        return report, kept and is_kept(report), happened
    finally:
        ground.end()


def quota(args):
    ground = Ground(args, {"CAROM_SPOOL__MAX_BYTES": "98304"}.items())
    try:
        visitors = ground.visitors(rate=1000)
        seen = calm_and_fault(ground, visitors, args.seconds, ground.engine.kill, ground.engine.start)
        report = {"trial": "quota", **seen, **judged(ground, visitors, by_link=True)}
        fresh, _ = ground.fresh()
        metrics = ground.carom.metrics()
        given_up = sum(metrics.get("carom_edge_clicks_%s_total" % kind, 0) for kind in ("compacted", "counted"))
        without = ground.engine.number("SELECT sum(n) FROM click WHERE referrer = ''")
        report.update(fresh_s=fresh, given_up=given_up, without_detail=without)
        report.update(audited(ground.engine, ground.carom))
        # Told at each start, and each minute.
        lost = lambda: ground.carom.call(ground.key, "/api/v1/stats")[1].get("lost")
        report["shown"] = until(lost, "statistics show it", 70)
        is_shown = report["shown"] == {"clicks": 0, "without_detail": given_up}
        kept = not report["other_answers"] and fresh <= FRESH_MAX and without == given_up and is_shown
        return report, kept and is_kept(report), given_up > 0
    finally:
        ground.end()


def torn(args):
    return full(args, "torn")


def full(args, trial="full"):
    ground = Ground(args, disk="256m")
    try:
        visitors = ground.visitors(rate=500)
        chance, is_over = random.Random(args.seed), threading.Event()

        def others():
            begun = time.monotonic()
            while not is_over.is_set():
                ground.fill(0)
                time.sleep(chance.uniform(0, 0.05))
                # An insert wants a MiB before it begins, and needs less.
                if trial == "torn" and time.monotonic() - begun < args.seconds / 2:
                    ground.empty(4 << 20)
                    time.sleep(chance.uniform(0, 0.03))

        filler = threading.Thread(target=others, daemon=True)

        def begin():
            filler.start()

        def end():
            is_over.set()
            filler.join()
            ground.empty()

        seen = calm_and_fault(ground, visitors, args.seconds, begin, end)
        emptied = time.monotonic()
        waiting = lambda: ground.carom.metrics().get("carom_edge_batches_waiting", 0)
        until(lambda: waiting() <= 2, "the backlog is gone", DRAIN_MAX)
        seen["caught_up_s"] = round(time.monotonic() - emptied, 1)
        fresh, one = ground.fresh()
        report = {"trial": trial, **seen, "fresh_s": fresh, **judged(ground, visitors, others=[one])}
        report["set_aside"] = ground.carom.metrics().get("carom_edge_batches_quarantined_total")
        report["refused"] = {name: ground.said(text) for name, text in [
            ("beforehand", r"NOT_ENOUGH_SPACE"), ("in_the_middle", r"No space left on device")]}
        report.update(audited(ground.engine, ground.carom))
        refused = report["refused"]["in_the_middle" if trial == "torn" else "beforehand"]
        happened = seen["outbox"][0] > 2 and refused > 0
        kept = not report["other_answers"] and fresh <= FRESH_MAX and report["set_aside"] == 0
        return report, kept and seen["stats_status"] == 200 and is_kept(report), happened
    finally:
        ground.end()


def network(args):
    ground = Ground(args, proxied=True)
    try:
        visitors = ground.visitors(rate=500)

        def begin():
            ground.proxy.is_calm = False

        def end():
            ground.proxy.is_calm = True

        seen = calm_and_fault(ground, visitors, args.seconds, begin, end)
        time.sleep(3)
        fresh, one = ground.fresh()
        report = {"trial": "network", **seen, "fresh_s": fresh, "befallen": ground.proxy.befallen,
                  "requests": ground.proxy.requests,
                  **judged(ground, visitors, others=[one])}
        report.update(audited(ground.engine, ground.carom))
        happened = sum(ground.proxy.befallen.values()) >= len(Proxy.FAULTS) / 2
        kept = not report["other_answers"] and fresh <= FRESH_MAX
        return report, kept and is_kept(report), happened
    finally:
        ground.end()


def stop(args):
    ground = Ground(args)
    try:
        visitors = ground.visitors(rate=500)
        seen = calm_and_fault(ground, visitors, args.seconds, ground.engine.pause, ground.engine.go_on)
        fresh, one = ground.fresh()
        report = {"trial": "stop", **seen, "fresh_s": fresh, **judged(ground, visitors, others=[one])}
        report.update(audited(ground.engine, ground.carom))
        kept = not report["other_answers"] and fresh <= FRESH_MAX
        return report, kept and is_kept(report), seen["outbox"][0] > 2
    finally:
        ground.end()


def view(args):
    ground = Ground(args)
    ask = ground.engine.ask
    try:
        visitors = ground.visitors(rate=500)

        def begin():
            ask("CREATE MATERIALIZED VIEW broken ENGINE = Null AS SELECT throwIf(n > 0) FROM click")
            ask("ALTER TABLE click ADD COLUMN tried UInt8 DEFAULT 7")

        def end():
            ask("DROP VIEW broken SYNC")
            ask("OPTIMIZE TABLE click FINAL")
            ask("ALTER TABLE click DROP COLUMN tried")

        seen = calm_and_fault(ground, visitors, args.seconds, begin, end)
        fresh, one = ground.fresh()
        report = {"trial": "view", **seen, "fresh_s": fresh, **judged(ground, visitors, others=[one])}
        report["set_aside"] = ground.carom.metrics().get("carom_edge_batches_quarantined_total")
        report.update(audited(ground.engine, ground.carom))
        kept = not report["other_answers"] and report["set_aside"] == 0 and fresh <= FRESH_MAX
        return report, kept and is_kept(report), seen["outbox"][0] > 2
    finally:
        ground.end()


def old(args):
    ground = Ground(args)
    ask, number = ground.engine.ask, ground.engine.number
    aged = lambda: number("SELECT count() FROM click WHERE at < now() - INTERVAL 31 DAY")
    try:
        for days in (100, 40):
            ask("INSERT INTO click (workspace, link, at, n, batch, row) SELECT 1, number %% 9 + 1, "
                "now() - INTERVAL %d DAY, 1, %d, number FROM numbers(1000)" % (days, days))
        before = aged()
        visitors = ground.visitors(rate=500)

        def begin():
            month = number("SELECT toYYYYMM(now() - INTERVAL 100 DAY)")
            ask("ALTER TABLE click DROP PARTITION ID '%d'" % month)
            ask("ALTER TABLE click MODIFY TTL at + INTERVAL 30 DAY SETTINGS mutations_sync = 2")

        def end():
            ask("OPTIMIZE TABLE click FINAL")
            ask("ALTER TABLE click REMOVE TTL")

        seen = calm_and_fault(ground, visitors, args.seconds, begin, end)
        fresh, one = ground.fresh()
        after = aged()
        report = {"trial": "old", **seen, "fresh_s": fresh, "aged": [before, after],
                  **judged(ground, visitors, others=[one])}
        report.update(audited(ground.engine, ground.carom))
        kept = not report["other_answers"] and fresh <= FRESH_MAX and is_kept(report)
        return report, kept, before == 2000 and after == 0
    finally:
        ground.end()


TRIALS = {"away": away, "quota": quota, "full": full, "torn": torn, "network": network, "stop": stop, "view": view, "old": old}


def main():
    parser = argparse.ArgumentParser(description="Faults of ClickHouse and of the way to it")
    parser.add_argument("--carom", required=True)
    parser.add_argument("--seconds", type=int, default=20, help="how long a fault lasts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("trial", nargs="+", choices=list(TRIALS))
    args = parser.parse_args()
    require_faketime(parser)
    worst = 0
    for name in args.trial:
        report, kept, happened = TRIALS[name](args)
        print(json.dumps({**report, "kept": kept, "happened": happened}), flush=True)
        worst = max(worst, 0 if kept and happened else 2 if kept else 1)
    sys.exit(worst)


if __name__ == "__main__":
    main()
