DROP TABLE products;
DROP TABLE retailers;
