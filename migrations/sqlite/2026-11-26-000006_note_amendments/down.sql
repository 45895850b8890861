ALTER TABLE traffic_hours DROP COLUMN revokes_noted;
ALTER TABLE traffic_hours DROP COLUMN edits_noted;
DROP INDEX orders_of_user_id;
DROP INDEX orders_of_phone;
DROP TABLE message_amendments;
