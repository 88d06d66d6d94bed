-- What posts gain beside their text: replies, likes and their counts. Apart from the posts themselves, so that the
-- path of a plain post and of a timeline does not touch them. Every statement may be run again.

-- One row per reply: what it answers, and the first post of the whole conversation.
CREATE TABLE IF NOT EXISTS replies (
    post_id BIGINT PRIMARY KEY,
    reply_to BIGINT NOT NULL,
    conversation BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_by_conversation ON replies (conversation, post_id);

CREATE TABLE IF NOT EXISTS likes (
    post_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (post_id, user_id)
);

-- Counted as they come, since a famous post's likes are too many to count at every look. Room in each page keeps an
-- update beside the row it replaces, without touching the index.
CREATE TABLE IF NOT EXISTS post_counts (
    post_id BIGINT PRIMARY KEY,
    likes BIGINT NOT NULL DEFAULT 0,
    replies BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 60);

-- The first answer to each request that carried an Idempotency-Key, written in the post's own transaction.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    user_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON idempotency_keys (created_at);

-- The keys auth-service signs tokens with: PKCS #8, and the public half as a JSON Web Key. Every replica signs with the
-- same one and publishes all of them.
CREATE TABLE IF NOT EXISTS signing_keys (
    kid TEXT PRIMARY KEY,
    private_key BYTEA NOT NULL,
    public_key TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
