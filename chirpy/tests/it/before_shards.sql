-- A database as migration 4 left it, with posts of forty people: what migration 5 finds.
CREATE TABLE users (
    id BIGSERIAL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE follows (
    follower_id BIGINT NOT NULL REFERENCES users(id),
    followee_id BIGINT NOT NULL REFERENCES users(id),
    PRIMARY KEY (followee_id, follower_id)
);
CREATE TABLE posts (
    id BIGSERIAL PRIMARY KEY,
    author_id BIGINT NOT NULL,
    author_name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    edited_at TIMESTAMPTZ,
    deleted BOOLEAN NOT NULL DEFAULT false,
    changed_in BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
);
CREATE INDEX posts_by_author ON posts (author_id, id DESC);
CREATE INDEX posts_by_change ON posts (changed_in, id);
CREATE TABLE fanout_jobs (
    id BIGSERIAL PRIMARY KEY,
    shard SMALLINT NOT NULL,
    worker TEXT,
    leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    post_ids BIGINT[] NOT NULL,
    author_ids BIGINT[] NOT NULL
);
CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TIMESTAMPTZ NOT NULL DEFAULT now());
INSERT INTO schema_migrations (version, name) SELECT version, 'earlier' FROM generate_series(1, 4) AS version;
INSERT INTO users (name, password_hash) SELECT 'person' || lpad(n::text, 4, '0'), 'none' FROM generate_series(1, 40) AS n;
INSERT INTO posts (author_id, author_name, body, deleted, edited_at)
    SELECT id, name, 'post ' || n || ' of ' || name, n = 7, CASE WHEN n = 8 THEN now() END
    FROM generate_series(1, 10) AS n, users ORDER BY n, id;
INSERT INTO replies (post_id, reply_to, conversation) VALUES (41, 1, 1);
INSERT INTO post_counts (post_id, likes, replies) VALUES (1, 3, 1);
