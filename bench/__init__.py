"""Benchmark: compares PixelFlow, within one run, with what it is built on. Run it with ``make bench``.

Contenders alternate. Everything runs on this machine, on loopback, and no process is left running. The service must
never import this package, and a run must never print a figure that it did not measure.

    sections    one module per table of figures
    contenders  the programs that are compared
    figures     medians, their spread and their targets
    stack       the servers and PixelFlow processes that are measured
    report      stored results: JSON, Markdown
    plot        the same as SVG
"""
