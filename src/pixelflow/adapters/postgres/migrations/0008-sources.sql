-- Sources that are there already.

-- `source_job_id` is the job that owns the file which this job reads, and `source_output` the step whose output it is; null: its
-- source. It references nothing: erasing a job must neither wait for the jobs that read its files, nor delete them. The retention of
-- the file waits for those of them that have not finished.
ALTER TABLE jobs DROP CONSTRAINT IF EXISTS jobs_source_type_check,
                 ADD CONSTRAINT jobs_source_type_check
                     CHECK (source_type IN ('s3_presigned', 'local_file', 'job')) NOT VALID,
                 ADD COLUMN source_job_id uuid,
                 ADD COLUMN source_output text;
