#!/usr/bin/env escript
%% -*- erlang -*-
%% Turns the tables of ExDaas into lines of JSON, which 'oxdaas import' takes.
%%
%%   scripts/exdaas-export.escript FILE|DIRECTORY... > documents.ndjson
%%
%% A FILE is a DETS table of ExDaas; of a DIRECTORY, those that it made there
%% (dets_table_0, dets_table_1, ...). Each entry {Id, Data} becomes a line
%% {"id":Id,"data":Data}; the counters of ExDaas are left out. Nothing is changed:
%% a table that ExDaas did not close is repaired in a copy.
%%
%% Entries that no JSON can hold are listed on standard error, and so is an id that
%% stands in two tables, whose later line wins. Exit code 0: every entry is a line,
%% 1: some are listed, 2: it could not run to its end.
%%
%% It needs Erlang/OTP 25 or later, of Debian the package erlang-base.
-mode(compile).

-define(BUFFER_BYTES, 262144).
-define(INTEGER_MIN, -9223372036854775808).
-define(INTEGER_MAX, 9223372036854775807).

main([]) -> usage(), halt(2);
main(["--help"]) -> usage();
main(["-h"]) -> usage();
main(Arguments) ->
    %% Bytes go out as they are.
    ok = io:setopts(standard_io, [binary, {encoding, latin1}]),
    ok = io:setopts(standard_error, [{encoding, unicode}]),
    %% Messages of the repair are for the user, who is on standard output otherwise.
    true = unregister(user),
    true = register(user, spawn(fun forward_to_standard_error/0)),
    %% Of each id, the table that it stands in.
    seen = ets:new(seen, [set, named_table]),
    try
        Listed = lists:sum([export(File) || Argument <- Arguments, File <- tables(Argument)]),
        halt(min(Listed, 1))
    catch
        throw:{cannot_run, Format, Values} ->
            say(Format, Values),
            halt(2)
    end.

forward_to_standard_error() ->
    receive Message -> standard_error ! Message end,
    forward_to_standard_error().

usage() ->
    {ok, Text} = file:read_file(escript:script_name()),
    Lines = binary:split(Text, <<"\n">>, [global]),
    [io:format("~ts~n", [string:trim(Line, leading, "% ")])
     || <<"%% ", Line/binary>> <- Lines, Line =/= <<"-*- erlang -*-">>],
    ok.

%% The tables that an argument names.
tables(Argument) ->
    case filelib:is_dir(Argument) of
        false ->
            [Argument];
        true ->
            case lists:sort(filelib:wildcard("dets_table_*", Argument)) of
                [] -> throw({cannot_run, "~ts: no dets_table_* in it", [Argument]});
                Names -> [filename:join(Argument, Name) || Name <- Names]
            end
    end.

%% Writes the lines of a table; how many entries were listed instead.
export(File) ->
    case filelib:is_regular(File) of
        true -> ok;
        false -> throw({cannot_run, "~ts: no such file", [File]})
    end,
    case dets:open_file(exdaas, [{file, File}, {access, read}, {repair, false}]) of
        {ok, Table} ->
            write(File, Table);
        {error, {Reason, _}} when Reason =:= needs_repair; Reason =:= not_closed ->
            say("~ts: it was not closed; a copy of it is repaired", [File]),
            in_copy(File, fun(Copy) ->
                case dets:open_file(exdaas, [{file, Copy}, {repair, true}]) of
                    {ok, Table} -> write(File, Table);
                    {error, Error} -> throw({cannot_run, "~ts: ~0tp", [File, Error]})
                end
            end);
        {error, Error} ->
            throw({cannot_run, "~ts: ~0tp", [File, Error]})
    end.

in_copy(File, Use) ->
    Directory = case os:getenv("TMPDIR") of false -> "/tmp"; Set -> Set end,
    Copy = filename:join(Directory, "exdaas-export." ++ os:getpid()),
    case file:copy(File, Copy) of
        {ok, _} -> ok;
        {error, Error} -> throw({cannot_run, "~ts: ~ts", [Copy, file:format_error(Error)]})
    end,
    try Use(Copy) after file:delete(Copy) end.

write(File, Table) ->
    Step = fun(Entry, {Buffer, Bytes, Listed}) ->
        case line(File, Entry) of
            {line, Line, More} ->
                flush({[Buffer, Line], Bytes + iolist_size(Line), Listed + More});
            none ->
                {Buffer, Bytes, Listed};
            {bad, Why} ->
                say("~ts: ~ts: ~ts", [File, shown(Entry), Why]),
                {Buffer, Bytes, Listed + 1}
        end
    end,
    case dets:foldl(Step, {[], 0, 0}, Table) of
        {error, Error} -> throw({cannot_run, "~ts: ~0tp", [File, Error]});
        {Rest, _, Count} ->
            ok = file:write(standard_io, Rest),
            ok = dets:close(Table),
            Count
    end.

flush({Buffer, Bytes, Listed}) when Bytes >= ?BUFFER_BYTES ->
    ok = file:write(standard_io, Buffer),
    {[], 0, Listed};
flush(State) ->
    State.

%% The line of an entry and how often its id was seen before, or why it has none.
line(_File, {Counter, _}) when Counter =:= counter; Counter =:= user_id_counter ->
    none;
line(File, {Id, Data}) ->
    try
        Line = [<<"{\"id\":">>, id(Id), <<",\"data\":">>, json(Data), <<"}\n">>],
        {line, Line, note(File, Id)}
    catch
        throw:{bad, Why} -> {bad, Why}
    end;
line(_File, _Entry) ->
    {bad, "no entry of ExDaas, which are {Id, Data}"}.

note(File, Id) ->
    case ets:insert_new(seen, {Id, File}) of
        true ->
            0;
        false ->
            [{_, Before}] = ets:lookup(seen, Id),
            say("~ts: id ~ts stands in ~ts as well; the later line wins", [File, shown(Id), Before]),
            1
    end.

id(Id) when is_integer(Id), Id >= ?INTEGER_MIN, Id =< ?INTEGER_MAX -> integer_to_binary(Id);
id(Id) when is_integer(Id) -> bad("the id has more than 64 bits", []);
id(Id) when is_binary(Id), Id =/= <<>> -> string(Id);
id(_) -> bad("the id is neither an integer nor a name", []).

json(nil) -> <<"null">>;
json(null) -> <<"null">>;
json(true) -> <<"true">>;
json(false) -> <<"false">>;
json(Atom) when is_atom(Atom) -> string(atom_to_binary(Atom));
json(Integer) when is_integer(Integer) -> integer_to_binary(Integer);
%% The shortest digits that are read as the same float again.
json(Float) when is_float(Float) -> float_to_binary(Float, [short]);
json(Text) when is_binary(Text) -> string(Text);
json(Map) when is_map(Map) ->
    Members = lists:sort([{key(Key), Value} || {Key, Value} <- maps:to_list(Map)]),
    no_key_twice(Members),
    [${, lists:join($,, [[string(Key), $:, json(Value)] || {Key, Value} <- Members]), $}];
json(List) when is_list(List) ->
    case is_proper(List) of
        true -> [$[, lists:join($,, [json(Element) || Element <- List]), $]];
        false -> bad("a list has a tail that is no list", [])
    end;
json(Other) ->
    bad("~0tp is nothing that JSON has", [Other]).

%% Keys as ExDaas showed them.
key(Key) when is_binary(Key) -> Key;
key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(Key) when is_integer(Key) -> integer_to_binary(Key);
key(Key) -> bad("~0tp is no key of an object", [Key]).

no_key_twice([{Key, _}, {Key, _} | _]) -> bad("two keys of a map are ~ts", [string(Key)]);
no_key_twice([_ | Rest]) -> no_key_twice(Rest);
no_key_twice([]) -> ok.

is_proper([]) -> true;
is_proper([_ | Rest]) -> is_proper(Rest);
is_proper(_) -> false.

string(Text) ->
    case unicode:characters_to_list(Text) of
        Characters when is_list(Characters) -> [$", escaped(Text, 0, 0, Text), $"];
        _ -> bad("a text is not UTF-8", [])
    end.

%% Text with its escapes; what needs none, `Length` bytes from `Start` on, is taken as it is.
escaped(<<Byte, Rest/binary>>, Start, Length, Text) when Byte < 32; Byte =:= $"; Byte =:= $\\ ->
    [binary_part(Text, Start, Length), escape(Byte) | escaped(Rest, Start + Length + 1, 0, Text)];
escaped(<<_, Rest/binary>>, Start, Length, Text) ->
    escaped(Rest, Start, Length + 1, Text);
escaped(<<>>, Start, Length, Text) ->
    [binary_part(Text, Start, Length)].

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape($\n) -> <<"\\n">>;
escape($\r) -> <<"\\r">>;
escape($\t) -> <<"\\t">>;
escape(Byte) -> io_lib:format("\\u~4.16.0b", [Byte]).

bad(Format, Values) ->
    throw({bad, io_lib:format(Format, Values)}).

%% The start of a term, for a message.
shown(Term) ->
    io_lib:format("~0tP", [Term, 12]).

say(Format, Values) ->
    io:format(standard_error, Format ++ "~n", Values).
