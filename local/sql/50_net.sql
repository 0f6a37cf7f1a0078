-- pg_net's names: a request is a row in a queue, so it is sent only when the transaction commits, by local/background.py,
-- once and without retries. Both tables are unlogged, as pg_net's are: a crash of the server empties them.

create schema if not exists net;
grant usage on schema net to postgres;

do $$
begin
    create domain net.http_method as text check (value ilike 'get' or value ilike 'post' or value ilike 'delete');
exception
    when duplicate_object then null;
end
$$;

create unlogged table if not exists net.http_request_queue (
    id                   bigserial,
    method               net.http_method not null,
    url                  text not null,
    headers              jsonb,
    body                 bytea,
    timeout_milliseconds integer not null
);

create unlogged table if not exists net._http_response (
    id           bigint,
    status_code  integer,
    content_type text,
    headers      jsonb,
    content      text,
    timed_out    boolean,
    error_msg    text,
    created      timestamptz not null default now()
);
create index if not exists _http_response_created_idx on net._http_response (created);

-- Wakes the sender; Postgres delivers it only after the commit.
create or replace function net.wake() returns trigger
    language plpgsql set search_path = ''
as $$
begin
    perform pg_catalog.pg_notify('pg_net', '');
    return null;
end
$$;

create or replace trigger wake_on_request
    after insert on net.http_request_queue
    for each statement execute function net.wake();

-- Letters, digits and -._~ stay, every other byte becomes %XX.
create or replace function net._urlencode_string(string varchar) returns text
    language sql immutable strict set search_path = ''
as $$
    select coalesce(string_agg(
        case
            when byte between 48 and 57 or byte between 65 and 90 or byte between 97 and 122
                or byte in (45, 46, 95, 126)
                then chr(byte)
            else '%' || upper(lpad(to_hex(byte), 2, '0'))
        end,
        '' order by position
    ), '')
    from (
        select position, get_byte(convert_to(string, 'utf8'), position) as byte
        from generate_series(0, octet_length(convert_to(string, 'utf8')) - 1) as position
    ) as bytes
$$;

create or replace function net._url_with_params(url text, params jsonb) returns text
    language sql immutable set search_path = ''
as $$
    select url || coalesce(
        (case when strpos(url, '?') > 0 then '&' else '?' end)
        || (select string_agg(net._urlencode_string(key) || '=' || net._urlencode_string(value), '&')
            from jsonb_each_text(params)),
        ''
    )
$$;

create or replace function net.http_get(
    url text,
    params jsonb default '{}'::jsonb,
    headers jsonb default '{}'::jsonb,
    timeout_milliseconds integer default 5000
) returns bigint
    language sql volatile strict parallel safe set search_path = ''
as $$
    insert into net.http_request_queue (method, url, headers, timeout_milliseconds)
    values ('GET', net._url_with_params(url, params), headers, timeout_milliseconds)
    returning id
$$;

create or replace function net.http_post(
    url text,
    body jsonb default '{}'::jsonb,
    params jsonb default '{}'::jsonb,
    headers jsonb default '{"Content-Type": "application/json"}'::jsonb,
    timeout_milliseconds integer default 5000
) returns bigint
    language plpgsql volatile parallel safe set search_path = ''
as $$
declare
    content_type text := (
        select value from pg_catalog.jsonb_each_text(coalesce(headers, '{}'::jsonb)) where lower(key) = 'content-type' limit 1
    );
    request_id bigint;
begin
    if content_type <> 'application/json' then
        raise exception 'Content-Type header must be "application/json"';
    end if;
    if body is null then
        raise exception 'body must not be null';
    end if;
    insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
    values (
        'POST',
        net._url_with_params(url, params),
        case when content_type is null then headers || '{"Content-Type": "application/json"}' else headers end,
        convert_to(body::text, 'UTF8'),
        timeout_milliseconds
    )
    returning id into request_id;
    return request_id;
end
$$;

revoke all on all functions in schema net from public;
grant execute on all functions in schema net to postgres;
grant all on all tables in schema net to postgres;
grant all on all sequences in schema net to postgres;
