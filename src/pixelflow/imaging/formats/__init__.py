"""Image formats, one folder each: ``FORMAT`` in its package, ``load`` to read it, ``save`` to write it."""
