-- Options for reading a job's source, as the client set them; frames of the source, and warnings of the transform.

ALTER TABLE jobs ADD COLUMN source_options jsonb NOT NULL DEFAULT '{}',
                 ADD COLUMN source_frames integer,
                 ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]';
