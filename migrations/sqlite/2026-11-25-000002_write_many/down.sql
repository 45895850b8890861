-- Nothing: SQLite's writer writes row by row. The change is PostgreSQL's, and the trees have the same names.
SELECT 1;
