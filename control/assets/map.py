#!/usr/bin/env python3
"""Writes map.svg, the map of countries, from files that npm has.

    npm pack world-atlas@2.0.2 i18n-iso-countries@7.14.0     # and unpack both
    python3 map.py WORLD_ATLAS_FOLDER I18N_ISO_COUNTRIES_FOLDER > map.svg

world-atlas is Natural Earth (public domain) as TopoJSON, ISC; i18n-iso-countries (MIT) has the
two-letter codes. Shapes are those of 1:110m; what is too small for that is a dot where 1:50m has it.
Coordinates are whole numbers of the Equal Earth projection (Savric, Patterson, Jenny 2018), 1000 wide.
"""

import json
import math
import sys

WIDTH = 1000
# Latitudes that are shown: nobody clicks in Antarctica.
NORTH, SOUTH = 83.7, -56.0
# How far a line may be from where it was, in parts of WIDTH.
TOLERANCE = 0.75
RADIUS = 5
# What ISO 3166-1 has no number for.
BY_NAME = {"Kosovo": "XK"}
A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796
M = math.sqrt(3) / 2


def raw(longitude, latitude):
    theta = math.asin(M * math.sin(math.radians(latitude)))
    t2 = theta * theta
    t6 = t2 * t2 * t2
    x = math.radians(longitude) * math.cos(theta)
    x /= M * (A1 + 3 * A2 * t2 + t6 * (7 * A3 + 9 * A4 * t2))
    return x, theta * (A1 + A2 * t2 + t6 * (A3 + A4 * t2))


SCALE = WIDTH / (2 * raw(180, 0)[0])
TOP = raw(0, NORTH)[1]
HEIGHT = round((TOP - raw(0, SOUTH)[1]) * SCALE)


def place(longitude, latitude):
    x, y = raw(longitude, latitude)
    return WIDTH / 2 + x * SCALE, (TOP - y) * SCALE


def simplified(points):
    """Ramer, Douglas and Peucker's."""
    if len(points) < 3:
        return points
    (x0, y0), (x1, y1) = points[0], points[-1]
    dx, dy = x1 - x0, y1 - y0
    length = math.hypot(dx, dy)

    def distance(point):
        x, y = point
        if length == 0:
            return math.hypot(x - x0, y - y0)
        return abs(dy * (x - x0) - dx * (y - y0)) / length

    at = max(range(1, len(points) - 1), key=lambda at: distance(points[at]))
    if distance(points[at]) <= TOLERANCE:
        return [points[0], points[-1]]
    return simplified(points[: at + 1])[:-1] + simplified(points[at:])


def arcs(topology, keep):
    (sx, sy), (tx, ty) = topology["transform"]["scale"], topology["transform"]["translate"]
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append(place(x * sx + tx, y * sy + ty))
        # Shared by two countries: both borders stay the same line.
        points = points if keep else simplified(points)
        yield points if keep else [(round(x), round(y)) for x, y in points]


def rings(topology, lines, geometry):
    polygons = geometry.get("arcs", [])
    polygons = [polygons] if geometry["type"] == "Polygon" else polygons
    for polygon in polygons:
        for ring in polygon:
            points = []
            for arc in ring:
                line = lines[arc] if arc >= 0 else lines[~arc][::-1]
                points += line if not points else line[1:]
            yield unwrapped(points)


def unwrapped(points):
    """A ring that passes the date line goes on beyond it, on the side where most of it is."""
    shift, shifts = 0, [0]
    for (x0, _), (x, _) in zip(points, points[1:]):
        # Both are on the date line: to go on is to stay where it is.
        shift += x0 - x if abs(x - x0) > WIDTH / 3 else 0
        shifts.append(shift)
    most = max(set(shifts), key=shifts.count)
    return [(x + shift - most, y) for (x, y), shift in zip(points, shifts)]


def path(points):
    kept = [points[0]]
    for point in points[1:]:
        if point != kept[-1]:
            kept.append(point)
    if len(kept) < 4:
        return ""
    text, (x, y) = f"M{kept[0][0]} {kept[0][1]}l", kept[0]
    steps = []
    for nx, ny in kept[1:-1]:
        dx, dy = nx - x, ny - y
        steps.append(f"{dx}{'' if dy < 0 else ' '}{dy}")
        x, y = nx, ny
    for step in steps:
        text += step if text.endswith("l") or step.startswith("-") else " " + step
    return text + "z"


def shapes(topology, codes):
    for geometry in topology["objects"]["countries"]["geometries"]:
        name = geometry["properties"]["name"]
        yield BY_NAME.get(name) or codes.get(geometry.get("id"), ""), geometry


def main():
    atlas, iso = sys.argv[1:]
    codes = {row[2]: row[0] for row in json.load(open(f"{iso}/codes.json"))}
    codes = {number.zfill(3): code for number, code in codes.items()}
    small = json.load(open(f"{atlas}/countries-110m.json"))
    large = json.load(open(f"{atlas}/countries-50m.json"))
    known, out = set(), []
    lines = list(arcs(small, False))
    for code, geometry in shapes(small, codes):
        if code == "AQ":
            continue
        drawn = "".join(path(ring) for ring in rings(small, lines, geometry))
        if drawn:
            known.add(code)
            out.append(f'<path{f" id={chr(34)}{code}{chr(34)}" if code else ""} d="{drawn}"/>')
    lines = list(arcs(large, True))
    dots = []
    for code, geometry in shapes(large, codes):
        if not code or code in known or code == "AQ":
            continue
        points = max(rings(large, lines, geometry), key=len)
        x = sum(x for x, _ in points) / len(points)
        y = sum(y for _, y in points) / len(points)
        if 0 <= y <= HEIGHT:
            dots.append(f'<circle id="{code}" cx="{round(x)}" cy="{round(y)}" r="{RADIUS}"/>')
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<g id="world">{"".join(out)}</g><defs>{"".join(sorted(dots))}</defs></svg>'
    )


main()
