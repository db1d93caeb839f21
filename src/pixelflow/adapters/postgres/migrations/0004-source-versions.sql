-- What a source must be: the SHA-256 that the client declared, and the version of the object when the job was queued. The version is
-- of one run, because the statements of older releases queue a run without setting it.

ALTER TABLE jobs ADD COLUMN declared_sha256 text,
                 ADD COLUMN source_version text,
                 ADD COLUMN source_version_run integer;
