-- Sources that are objects in buckets that the operator named.

-- `source_key` is the object's key below the prefix of the bucket. A worker pins the object's version in the first attempt of a run, in
-- `source_version`.
ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_source_type_check,
                 ADD CONSTRAINT jobs_source_type_check
                     CHECK (source_type IN ('s3_presigned', 'local_file', 'job', 'url', 'bucket')) NOT VALID,
                 ADD COLUMN source_bucket text;
