"""Operations, one folder each: ``OPERATION`` in its package, a model, ``pixels`` to apply it, a page to document it."""
