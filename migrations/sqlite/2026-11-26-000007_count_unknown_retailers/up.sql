ALTER TABLE traffic_hours ADD COLUMN unknown_retailers INTEGER NOT NULL DEFAULT 0;
