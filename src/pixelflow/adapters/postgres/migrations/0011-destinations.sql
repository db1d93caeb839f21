-- Where a job stores its outputs besides the service's bucket, as the request said and with the template of the keys in which the values
-- of the job are filled in; and the key of each output there.

LOCK TABLE jobs, outputs;
ALTER TABLE jobs ADD COLUMN destination jsonb;
ALTER TABLE outputs ADD COLUMN destination_key text;
