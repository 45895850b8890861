ALTER TABLE traffic_hours ADD COLUMN unknown_retailers BIGINT NOT NULL DEFAULT 0;
