"""Curves as an SVG, the x axis logarithmic and the y axis too unless said. Standard library only."""

import math

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 360, 300, 56, 34, 46, 24
COLOURS = ["#0060a8", "#888888", "#c04800"]


def ticks(low, high):
    """Powers of ten from one to the other."""
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def even_ticks(low, high):
    """Up to six round numbers from one to the other, or a little beyond."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(step * f for f in (0.2, 0.5, 1, 2, 5) if (high - low) / (step * f) <= 4)
    return [step * i for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def panel(x0, title, x_label, unit, series, y_unit=lambda y: f"{y:g} s", linear=False):
    """One pair of axes. `series`: name → [(x, y)]; `unit` and `y_unit` format a value on an axis; `linear`: the y axis."""
    xs = [x for points in series.values() for x, _ in points]
    values = [y for points in series.values() for _, y in points]
    ys = (even_ticks if linear else ticks)(min(values), max(values))
    left, right, top, bottom = x0 + LEFT, x0 + WIDTH - GAP, TOP, HEIGHT - BOTTOM

    def scale(value, low, high, start, end):
        return start + (end - start) * math.log(value / low) / math.log(high / low)

    def place(x, y):
        across = scale(x, min(xs), max(xs), left, right)
        if linear:
            return across, bottom + (top - bottom) * (y - ys[0]) / (ys[-1] - ys[0])
        return across, scale(y, ys[0], ys[-1], bottom, top)

    yield f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>'
    for y in ys:
        _, at = place(min(xs), y)
        yield f'<path d="M{left} {at:.1f}H{right}" stroke="#dddddd"/>'
        yield f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{y_unit(y)}</text>'
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
    """`panels`: tuples of title, label of the x axis, its format, series, and what else `panel` takes."""
    width = WIDTH * len(panels)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12" fill="#222222">',
             f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>']  # fmt: skip
    for i, one in enumerate(panels):
        lines += panel(i * WIDTH, *one)
    return "\n".join([*lines, "</svg>"]) + "\n"
