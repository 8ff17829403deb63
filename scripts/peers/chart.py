"""One bar chart of requests/s, as SVG that reads on light and on dark."""

import report

WORKLOADS = ("GET", "GET, 16 pipelined", "POST of distinct ids")
LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 250, 420, 90
ROW, BAR, GAP, MARGIN = 24, 16, 34, 16

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .peer { fill: #8c959f }
  .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .peer { fill: #6e7681 }
    .ours { fill: #4493f8 }
  }"""


def draw(bench, path):
    parts = []
    y = MARGIN
    for workload in WORKLOADS:
        rows = [(server, bench.median(name, server).rate) for name, server in bench.runs if name == workload]
        if not rows:
            continue
        rows.sort(key=lambda row: row[1], reverse=True)
        parts.append(f'<text class="title" x="{MARGIN}" y="{y + 12}">{workload}: requests/s</text>')
        y += ROW
        for server, rate in rows:
            width = max(1, rate / rows[0][1] * BAR_WIDTH)
            x = MARGIN + LABEL_WIDTH
            kind = "ours" if server.startswith("oxdaas") else "peer"
            name = report.NAMES[server].strip("*")
            parts.append(f'<text x="{MARGIN}" y="{y + 13}">{name}</text>')
            parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.0f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{x + width + 6:.0f}" y="{y + 13}">{rate:,.0f}</text>')
            y += ROW
        y += GAP - ROW
    width = 2 * MARGIN + LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
    body = "\n  ".join(parts)
    with open(path, "w", encoding="utf-8") as out:
        out.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}" role="img">\n'
            f"  <title>Requests/s of OxDaaS and its peers</title>\n  <style>{STYLE}\n  </style>\n  {body}\n</svg>\n"
        )
