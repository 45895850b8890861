ALTER TABLE traffic_hours DROP COLUMN unknown_retailers;
