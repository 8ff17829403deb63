#!/usr/bin/env escript
%% -*- erlang -*-
%% Makes the tables of an ExDaas with four shards in a directory, as ExDaas itself
%% does: dets_table_N holds {Id, Data} of the ids whose remainder by 4 is N, and
%% dets_counter {counter, LastId}. dets_table_3 is left open, as by a kill.
-mode(compile).

main([Directory]) ->
    Entries = [
        {1, #{<<"color">> => <<"blue">>, <<"nested">> => [#{<<"n">> => [1, [], #{}]}, nil, true]}},
        {2, #{name => <<"atom keys">>, <<"other">> => some_atom, 7 => false}},
        {3, #{<<"float">> => [0.1, 1.0, -0.0, 1.0e22, 5.0e-324, 1.7976931348623157e308]}},
        {4, [1, 2, 3]},
        {5, nil},
        {6, #{<<"text">> => <<"q\" b\\ \n\r\t\x01 \x7f ü \x{2028} 🦀"/utf8>>, <<"k\"ü"/utf8>> => <<>>}},
        {7, #{<<"big">> => 123456789012345678901234567890, <<"neg">> => -9223372036854775809}},
        {-4, #{<<"negative">> => <<"id">>}},
        {8, <<"a text">>},
        %% What no JSON holds.
        {12, #{<<"tuple">> => {1, 2}}},
        {16, #{<<"raw">> => <<255, 254>>}},
        {20, [1 | 2]},
        {24, #{a => 1, <<"a">> => 2}},
        {2.5, #{}},
        {18446744073709551616, #{}}
    ],
    Many = [{Id, #{<<"n">> => Id}} || Id <- lists:seq(1000, 3999)],
    Last = [{Id, #{<<"n">> => Id, <<"last">> => true}} || Id <- [4003, 4007, 4011]],
    Tables = [open(Directory, Shard) || Shard <- lists:seq(0, 3)],
    [ok = dets:insert(table(Tables, Id), {Id, Data}) || {Id, Data} <- Entries ++ Many ++ Last],
    ok = dets:insert(hd(Tables), {user_id_counter, 1}),
    {ok, Counter} = dets:open_file(dets_counter, [{type, set}, {file, filename:join(Directory, "dets_counter")}]),
    ok = dets:insert(Counter, {counter, 3999}),
    ok = dets:close(Counter),
    [ok = dets:close(Table) || Table <- lists:droplast(Tables)],
    %% A look at all entries brings what was inserted to disk; nothing closes the file.
    3 = length(dets:match_object(lists:last(Tables), {'_', #{<<"n">> => '_', <<"last">> => true}})),
    erlang:halt(0, [{flush, false}]).

open(Directory, Shard) ->
    Name = "dets_table_" ++ integer_to_list(Shard),
    File = filename:join(Directory, Name),
    {ok, Table} = dets:open_file(list_to_atom(Name), [{type, set}, {file, File}]),
    Table.

table(Tables, Id) when is_integer(Id) -> lists:nth(abs(Id rem 4) + 1, Tables);
table(Tables, _) -> hd(Tables).
