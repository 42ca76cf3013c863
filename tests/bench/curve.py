"""Curves as an SVG, both axes logarithmic. Standard library only."""

import math

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 360, 300, 56, 34, 46, 24
COLOURS = ["#0060a8", "#888888", "#c04800"]


def ticks(low, high):
    """Powers of ten from one to the other."""
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def panel(x0, title, x_label, unit, series):
    """One pair of axes. `series`: name → [(x, y)]; `unit` formats a value on the x axis."""
    xs = [x for points in series.values() for x, _ in points]
    ys = ticks(min(y for points in series.values() for _, y in points),
               max(y for points in series.values() for _, y in points))  # fmt: skip
    left, right, top, bottom = x0 + LEFT, x0 + WIDTH - GAP, TOP, HEIGHT - BOTTOM

    def scale(value, low, high, start, end):
        return start + (end - start) * math.log(value / low) / math.log(high / low)

    def place(x, y):
        return scale(x, min(xs), max(xs), left, right), scale(y, ys[0], ys[-1], bottom, top)

    yield f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>'
    for y in ys:
        _, at = place(min(xs), y)
        yield f'<path d="M{left} {at:.1f}H{right}" stroke="#dddddd"/>'
        yield f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{y:g} s</text>'
    for x in sorted(set(xs)):
        at, _ = place(x, ys[0])
        yield f'<path d="M{at:.1f} {bottom}v4" stroke="#444444"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{unit(x)}</text>'
    yield f'<text x="{(left + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{x_label}</text>'
    for (name, points), colour in zip(series.items(), COLOURS):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5" fill="{colour}"/>' for p in line.split())
    for i, (name, colour) in enumerate(zip(series, COLOURS)):
        y = top + 14 + 16 * i
        yield f'<path d="M{left + 8} {y - 4}h18" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{left + 32}" y="{y}">{name}</text>'


def svg(panels):
    """`panels`: tuples of title, label of the x axis, its format, and series."""
    width = WIDTH * len(panels)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12" fill="#222222">',
             f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>']  # fmt: skip
    for i, one in enumerate(panels):
        lines += panel(i * WIDTH, *one)
    return "\n".join([*lines, "</svg>"]) + "\n"
