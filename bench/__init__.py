"""The benchmark: what PixelFlow costs beside what it stands on, in one run. Start it by ``make bench``.

Sides alternate, everything runs on loopback and on this machine alone, and nothing is left running. It must never be
imported by the service, and never print a figure that this run did not measure.

    sections   one module per table of figures
    sides      the processes that are compared, each alone with its pixels
    figures    what was measured, how it spreads, and what was wanted of it
    kept       results as JSON, the Markdown table and the plot
"""
