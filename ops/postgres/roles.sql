-- The roles of docs/operations.md, run once by `docker compose up`. These passwords are for this machine alone.
CREATE ROLE orders_owner LOGIN PASSWORD 'orders_owner';
CREATE ROLE orders_service LOGIN PASSWORD 'orders_service';
CREATE DATABASE orders OWNER orders_owner;
REVOKE ALL ON DATABASE orders FROM PUBLIC;
GRANT CONNECT ON DATABASE orders TO orders_service;
\connect orders
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO orders_owner;
GRANT USAGE ON SCHEMA public TO orders_service;
ALTER DEFAULT PRIVILEGES FOR ROLE orders_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO orders_service;
-- the superuser logs in inside the container only
ALTER ROLE postgres PASSWORD NULL;
