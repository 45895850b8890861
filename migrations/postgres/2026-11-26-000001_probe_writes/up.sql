-- Written to see whether writes are made durable. What is in it means nothing.
CREATE TABLE write_probe (
    filling TEXT NOT NULL
);
