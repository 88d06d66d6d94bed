-- Posts in logical shards by author: a table per shard, all under one parent. Everything happens in the migration's
-- transaction: either all posts are in their shards afterwards, or nothing has changed. Nobody reads or writes posts meanwhile.
-- {SHARDS} is POST_SHARDS when the database is migrated.
CREATE TABLE post_sharding (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    shards SMALLINT NOT NULL
);
INSERT INTO post_sharding (shards) VALUES ({SHARDS});

-- Where an author's posts are; the same as `of_author` in database/shards/place.rs, and never changed after this.
CREATE FUNCTION post_shard(author BIGINT) RETURNS SMALLINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (((((author & 2147483647) * 2654435761) & 4294967295) >> 16) % {SHARDS})::smallint
$$;

ALTER TABLE posts RENAME TO posts_single;
CREATE TABLE posts (
    shard SMALLINT NOT NULL,
    id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    author_name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    edited_at TIMESTAMPTZ,
    deleted BOOLEAN NOT NULL DEFAULT false,
    changed_in BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    -- Whoever counts shards otherwise is refused rather than believed.
    CONSTRAINT posts_are_in_their_shard CHECK (shard = post_shard(author_id))
) PARTITION BY LIST (shard);
DO $$ BEGIN
    FOR shard IN 0 .. {SHARDS} - 1 LOOP
        EXECUTE format('CREATE TABLE posts_shard_%s PARTITION OF posts FOR VALUES IN (%s)', lpad(shard::text, 2, '0'), shard);
    END LOOP;
END $$;

-- The ids of posts so far do not tell their shard; where they are is looked up here.
CREATE TABLE post_places (
    id BIGINT PRIMARY KEY,
    shard SMALLINT NOT NULL
);
INSERT INTO posts (shard, id, author_id, author_name, body, created_at, edited_at, deleted, changed_in)
    SELECT post_shard(author_id), id, author_id, author_name, body, created_at, edited_at, deleted, changed_in FROM posts_single;
INSERT INTO post_places (id, shard) SELECT id, shard FROM posts;
DO $$ BEGIN
    IF (SELECT count(*) FROM posts) <> (SELECT count(*) FROM posts_single)
       OR (SELECT count(*) FROM post_places) <> (SELECT count(*) FROM posts_single) THEN
        RAISE EXCEPTION 'not every post is in a shard';
    END IF;
END $$;
DROP TABLE posts_single;
ALTER TABLE posts ADD PRIMARY KEY (id, shard);
CREATE INDEX posts_by_author ON posts (author_id, id DESC);
CREATE INDEX posts_by_change ON posts (changed_in, id);

-- Ids of posts: a number of 1/64 ms since 2024, times 64, plus the shard. So they are in the order of time whichever database
-- gave them, their shard can be told, and they stay below 2^53 for sixty-nine years.
CREATE SEQUENCE post_numbers;
SELECT setval('post_numbers', 1::bigint << 34);
-- The first of `wanted` numbers in a row: above all that were given before, and not behind the clock. The lock is held for
-- these two statements, not until the transaction ends.
CREATE FUNCTION take_post_numbers(wanted BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    number BIGINT;
BEGIN
    PERFORM pg_advisory_lock(82);
    SELECT greatest(last_value + 1, (extract(epoch FROM clock_timestamp())::float8 * 64000)::bigint - 109060300800000)
        INTO number FROM post_numbers;
    PERFORM setval('post_numbers', number + wanted - 1);
    PERFORM pg_advisory_unlock(82);
    RETURN number;
END $$;
