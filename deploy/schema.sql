CREATE TABLE NameValue (name VARCHAR(100), value TEXT, PRIMARY KEY (name));
