-- From format 1 on: what an agent did beside asking a model.
ALTER TABLE charge ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE charge ADD COLUMN commands INTEGER NOT NULL DEFAULT 0;
ALTER TABLE charge ADD COLUMN subagents INTEGER NOT NULL DEFAULT 0;
