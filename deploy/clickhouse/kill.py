#!/usr/bin/env python3
"""Kills `carom` and its ClickHouse, exactly when parts are put in place and at random, and compares.

    kill.py --carom PROGRAM [--exact 1] [--kills 20] [--connections 8] [--life-max 2] [--drain 300] [--seed 1]

Each request has a number, which is stored as the host of its referrer. With --exact the engine (front.py, with
killer.c preloaded) dies before and after it renames each part that one batch makes: the rows, the rollup, what
changed for lists, the ledger; so many times each. Then SIGKILL meets `carom`, the engine, or both, at random
moments under load, and each is started again on what it left. At last, by queries of the engine: no answered
click is missing, none is there twice, none that was not asked for; and after one audit the rollup has what
rows have.

With --full-speed requests have no numbers and each connection asks for a link of its own: of each link as many
clicks are stored as were answered, and at most those of requests that were cut on top.

Prints JSON; exit code 1 if a promise was broken, 2 if nothing was put to the test.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time

# The folder is the repository's: nothing compiled is left in it.
sys.dont_write_bytecode = True

from rig import Carom, Engine, Visitors, audited, is_kept, require_faketime, settled, settled_by_link, until

# The parts of a batch's way: rows, rollup, changes, ledger.
PARTS = 4


def kill_exactly(engine, carom, code, rounds):
    """How many of the deaths came about, and who asked: one request for each, which makes one batch."""
    died, one = 0, Visitors(carom, [code], 1, tag="e")
    for _ in range(rounds):
        for when in ("before", "after"):
            for number in range(1, PARTS + 1):
                engine.die_at(when, number)
                one.ask(0)
                died += engine.has_died(10)
                until(lambda: engine.number("SELECT uniqExact(batch) FROM batch") >= one.sent[0], "the ledger")
    return died, one


def kill_at_random(engine, carom, kills, life_max, chance):
    killed = {"carom": 0, "engine": 0, "both": 0}
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, life_max))
        which = chance.choice(sorted(killed))
        killed[which] += 1
        if which != "engine":
            carom.kill()
        if which != "carom":
            engine.kill()
            engine.start()
        if which != "engine":
            carom.start()
    return killed


def main():
    parser = argparse.ArgumentParser(description="Kills carom and its ClickHouse")
    parser.add_argument("--carom", required=True)
    parser.add_argument("--exact", type=int, default=1, help="times that each moment of a rename is met")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--full-speed", action="store_true")
    parser.add_argument("--life-max", type=float, default=2, help="seconds between two kills, at most")
    parser.add_argument("--drain", type=int, default=300, help="seconds until all clicks are stored, at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    require_faketime(parser)
    folder = tempfile.mkdtemp(prefix="carom-kill-")
    engine = Engine(folder)
    carom = Carom(folder, args.carom, engine.port)
    visitors = None
    try:
        links = carom.links(carom.key(), args.connections + 1)
        begun = time.monotonic()
        died, few = kill_exactly(engine, carom, links[0][0], args.exact)
        codes = [code for code, _ in links[1:]]
        visitors = Visitors(carom, codes, args.connections, numbered=not args.full_speed)
        visitors.start()
        killed = kill_at_random(engine, carom, args.kills, args.life_max, random.Random(args.seed))
        if args.kills:
            time.sleep(1)
        visitors.stop()
        report = {"died_exactly": died, "killed": killed, "seconds": round(time.monotonic() - begun)}
        if args.full_speed:
            report.update(settled_by_link(engine, visitors, links[1:], args.drain))
        else:
            report.update(settled(engine, [few, visitors], args.drain))
        report.update(audited(engine, carom), seed=args.seed)
        print(json.dumps(report))
        if not is_kept(report):
            sys.exit(1)
        if died < 2 * PARTS * args.exact or (args.kills and not report["answered"]):
            sys.exit(2)
    finally:
        if visitors:
            visitors.is_over = True
        carom.kill()
        engine.kill()


if __name__ == "__main__":
    main()
