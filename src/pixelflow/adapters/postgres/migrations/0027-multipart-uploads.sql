-- Uploads in parts.

-- ID of the multipart upload at object storage, by which its parts are listed, completed and deleted. Only for jobs whose source is uploaded
-- in parts. It stays after the upload was completed.
ALTER TABLE jobs ADD COLUMN multipart_upload text;
