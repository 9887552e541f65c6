-- The three users of Level-1, as stream.tables.roles makes them; run once as an administrator of the server, with
-- the three passwords put in, e.g. sed "s/INGEST_PASSWORD/$(cat ingest.secret)/; ..." roles.sql | mariadb

CREATE DATABASE IF NOT EXISTS `skyburst` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'skyburst_ingest'@'%' IDENTIFIED BY 'INGEST_PASSWORD';
ALTER USER 'skyburst_ingest'@'%' IDENTIFIED BY 'INGEST_PASSWORD' REQUIRE NONE;
GRANT USAGE ON *.* TO 'skyburst_ingest'@'%';
REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'skyburst_ingest'@'%';
GRANT SELECT, INSERT, UPDATE ON `skyburst`.* TO 'skyburst_ingest'@'%';
CREATE USER IF NOT EXISTS 'skyburst_reader'@'%' IDENTIFIED BY 'READER_PASSWORD';
ALTER USER 'skyburst_reader'@'%' IDENTIFIED BY 'READER_PASSWORD' REQUIRE NONE;
GRANT USAGE ON *.* TO 'skyburst_reader'@'%';
REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'skyburst_reader'@'%';
GRANT SELECT ON `skyburst`.* TO 'skyburst_reader'@'%';
CREATE USER IF NOT EXISTS 'skyburst_migrate'@'%' IDENTIFIED BY 'MIGRATE_PASSWORD';
ALTER USER 'skyburst_migrate'@'%' IDENTIFIED BY 'MIGRATE_PASSWORD' REQUIRE NONE;
GRANT USAGE ON *.* TO 'skyburst_migrate'@'%';
REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'skyburst_migrate'@'%';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX ON `skyburst`.* TO 'skyburst_migrate'@'%';
