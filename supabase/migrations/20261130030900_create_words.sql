-- Generated from supabase/schemas/39_words.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Words: what a text search compares, of messages and of what is asked for, in every script.
--
-- Both are folded: one form of each letter, without case and accents. Scripts that put no space between words (Han, kana,
-- Thai, Lao, Khmer, Burmese) and Hangul, whose words carry particles, are cut into overlapping pairs of letters:
-- 订单号 is 订单, 单号 and 号. A search for 订单号 asks for 订单 before 单号, a search for 号 for a word that begins with it.
-- Plain ASCII, most of what is written, skips all of this. Nothing here needs an extension or the database's locale.

create function private.fold_text(text text, joined boolean default true)
    returns text language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    folded text := lower(normalize(text, nfkd));
begin
    -- Accents, Hebrew and Arabic vowel signs, and invisible characters.
    folded := regexp_replace(folded,
        '[\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061c\u0640\u064b-\u065f'
        '\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u180b-\u180f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f'
        '\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff]+', '', 'g');
    -- Letters that Unicode does not take apart. A text in Latin letters is ASCII now, and done.
    folded := replace(replace(replace(replace(replace(folded, 'ß', 'ss'), 'ø', 'o'), 'æ', 'ae'), 'ı', 'i'), 'ł', 'l');
    if octet_length(folded) = length(folded) then
        return folded;
    end if;
    folded := translate(folded, 'đðħŧςىیکة‐‑٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹', 'ddhtσييكه--01234567890123456789');
    folded := normalize(replace(replace(folded, 'œ', 'oe'), 'þ', 'th'), nfc);
    if joined and folded ~ private.spaceless_letter() then
        folded := regexp_replace(folded, '(' || private.spaceless_letter() || ')\s+(?=' || private.spaceless_letter() || ')', '\1', 'g');
    end if;
    -- Punctuation, which some locales take for letters.
    return regexp_replace(folded,
        '[\u00a1-\u00bf\u055a-\u055f\u0589\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965'
        '\u0e4f\u0e5a\u0e5b\u104a-\u104f\u17d4-\u17d6\u17d8-\u17da\u2012-\u2027\u2030-\u205e\u3001-\u3003\u3008-\u3020\u3030'
        '\u303d\u30fb\ufe10-\ufe1f\ufe30-\ufe52]+', ' ', 'g');
end;
$$;
comment on function private.fold_text is 'A text with one form of each letter: no case, no accents, no invisible characters, no punctuation beyond ASCII. joined: without the spaces between letters of scripts that do not need them.';

create function private.spaceless_letter()
    returns text language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    -- Letters that begin a syllable, then the vowel signs and tone marks that follow one.
    return '[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf\u1000-\u102a\u103f'
           '\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e\u1780-\u17b3\u17d7\u17dc\u2e80-\u2fdf'
           '\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff'
           '\u3400-\u4dbf\u4e00-\u9fff\uaa60-\uaa76\uac00-\ud7a3\U00020000-\U0003ffff]'
           '[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064'
           '\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d\u17b4-\u17d3\u17dd\u3099\u309a]*';
end;
$$;
comment on function private.spaceless_letter is 'The regular expression of a letter, with its signs, of a script that is searched by pairs of letters.';

create function private.pair_letters(folded text)
    returns text language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    letter constant text := private.spaceless_letter();
begin
    if folded !~ letter then
        return folded;
    end if;
    -- 订单号 becomes 订 订单 单号 号, and then loses its first 订: each letter begins one word.
    return regexp_replace(
        regexp_replace(
            regexp_replace(folded, '((?:' || letter || ')+)', ' \1 ', 'g'),
            '(' || letter || ')', '\1 \1', 'g'),
        ' ' || letter || ' (?=' || letter || ')', ' ', 'g');
end;
$$;
comment on function private.pair_letters is 'A folded text in which each run of letters without spaces is cut into overlapping pairs and its last letter.';

create function private.message_words(text text)
    returns tsvector language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    words text := left(text, 50000);
begin
    if octet_length(words) > length(words) then
        -- Folding can make a text longer.
        words := left(private.fold_text(words), 50000);
    end if;
    if octet_length(words) > length(words) then
        words := private.pair_letters(words);
    end if;
    return to_tsvector('simple'::regconfig, words);
end;
$$;
comment on function private.message_words is 'The words of a message''s first 50,000 characters (a tsvector holds a megabyte), as a text search compares them. Changing it takes a reindex of messages_words_idx.';

create function private.memory_words(text text)
    returns tsvector language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    words text := left(text, 50000);
begin
    if octet_length(words) > length(words) then
        words := private.pair_letters(left(private.fold_text(words), 50000));
    end if;
    return strip(to_tsvector('english'::regconfig, words));
end;
$$;
comment on function private.memory_words is 'The words that recall compares: as private.message_words, without the endings and the common words of English. Words of other languages are compared as they are written, of both sides alike. Changing it takes rewriting memories.words.';

create function private.search_words(query text)
    returns tsquery language plpgsql immutable parallel safe set search_path = ''
as $$
declare
    letter constant text := private.spaceless_letter();
    asked  text;
begin
    if octet_length(query) = length(query) then
        return websearch_to_tsquery('simple'::regconfig, query);
    end if;
    -- Between quotes stands a phrase; elsewhere each run of letters without spaces is one.
    select string_agg(
               case when p.number % 2 = 0 then '"' || private.fold_text(p.part) || '"'
                    else regexp_replace(private.fold_text(p.part, joined => false), '((?:' || letter || ')+)', ' "\1" ', 'g') end,
               '' order by p.number)
      into asked
      from unnest(string_to_array(translate(query, '“”„«»', '"""""'), '"')) with ordinality p (part, number);
    asked := private.pair_letters(regexp_replace(asked, '(^|\s)-\s+"', '\1-"', 'g'));
    -- The last letter of a phrase may be followed by others in the message, and so may a letter alone.
    asked := regexp_replace(asked, '(' || letter || ') ' || letter || ' *"', '\1"', 'g');
    return regexp_replace(
               websearch_to_tsquery('simple'::regconfig, asked)::text, '''(' || letter || ')''(?!:)', '''\1'':*', 'g')::tsquery;
end;
$$;
comment on function private.search_words is 'What a text search asks for: all words, "a phrase", or, -not, compared with private.message_words.';

create function public.search_words(query text)
    returns table (words tsquery) language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return query select private.search_words(search_words.query);
end;
$$;
comment on function public.search_words is 'What a text search asks for, for a filter of message_words (fts); only needed for texts beyond ASCII.';

grant execute on function
    private.fold_text, private.spaceless_letter, private.pair_letters, private.message_words
    to authenticated, contact, service_role, switchboard;

grant execute on function
    private.memory_words
    to service_role, switchboard;

grant execute on function
    private.search_words, public.search_words
    to authenticated, contact, service_role;
