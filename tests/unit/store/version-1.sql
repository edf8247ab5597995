-- The tables as version 1 made them, with a host and its records.
CREATE TABLE meta (key VARCHAR NOT NULL,
  value VARCHAR NOT NULL,
  PRIMARY KEY (key) );
CREATE TABLE records ( host VARCHAR NOT NULL,
  type VARCHAR NOT NULL,
  wanted VARCHAR,
  wish BIGINT NOT NULL,
  wished_at FLOAT NOT NULL,
  source VARCHAR NOT NULL,
  face VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  published VARCHAR,
  action BIGINT, accepted_at FLOAT, checked_at FLOAT NOT NULL,
  attempts INTEGER NOT NULL,
  next_try_at FLOAT NOT NULL,
  error VARCHAR NOT NULL,
  PRIMARY KEY (host, type) );
CREATE INDEX records_due ON records (state, next_try_at);
CREATE TABLE hosts ( host VARCHAR NOT NULL,
  registered_at FLOAT, seen_at FLOAT, excused FLOAT DEFAULT '0' NOT NULL,
  silent_since FLOAT, PRIMARY KEY (host) );
CREATE TABLE leases ( name VARCHAR NOT NULL,
  holder VARCHAR NOT NULL,
  until FLOAT NOT NULL,
  PRIMARY KEY (name) );
CREATE TABLE history ( id INTEGER NOT NULL,
  at FLOAT NOT NULL,
  host VARCHAR NOT NULL,
  type VARCHAR NOT NULL,
  event VARCHAR NOT NULL,
  source VARCHAR NOT NULL,
  face VARCHAR NOT NULL,
  old VARCHAR,
  new VARCHAR,
  why VARCHAR NOT NULL,
  PRIMARY KEY (id) );
CREATE INDEX ix_history_at ON history (at);
CREATE INDEX ix_history_host ON history (host);
INSERT INTO meta VALUES ('version', '1');
INSERT INTO hosts VALUES ('host.example.com', 100, 200, 0, NULL);
INSERT INTO records VALUES ('host.example.com', 'A', '198.51.100.1', 3, 100, '192.0.2.1', 'json', 'publishing', '198.51.100.1', 42, 101, 101, 0, 105, '');
INSERT INTO records VALUES ('host.example.com', 'AAAA', '2001:db8::1', 1, 100, '192.0.2.1', 'json', 'pending', NULL, NULL, NULL, 0, 2, 130, 'away');
