"""The transform child: a confined process that decodes images, without credentials or network access."""
