"""The commands: each module holds a command's options, what it does and what it prints.

``app`` imports a module only when one of its commands runs or shows its help.

Style of the texts: sentence case, full stops, present tense. A command's first line is imperative and short enough for
one line of ``pixelflow --help`` («List jobs, newest first.»). An option's help is a noun phrase or an imperative; it
states the unit and, where Typer can't show it, the default. An error says what is wrong and, if the user can fix it,
what to change.
"""
