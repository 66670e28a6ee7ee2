%% A node of bench/cluster; cluster_programs.py compiles it and starts nodes with
%%
%%     erl ... -run cluster_node start EVENTS PEERS [LIST SECONDS]
%%
%% It writes a line to the file EVENTS for each thing that happens, with the time in microseconds of the
%% system clock: "up", at once; "joined", when nodes() first has PEERS names; "down", when a peer is lost.
%% With LIST, a file with a node name a line, it also joins by itself, every SECONDS seconds, as libcluster's
%% strategies do: it takes from the list whom it is not connected to, and calls connect_node for one after the
%% other. Each call is a line too: "called", or "needless" where a connection had come about meanwhile.
%% The node ends when its stdin does.
-module(cluster_node).
-export([start/1]).

start([Events, Peers | More]) ->
    Up = now_us(),
    Watch = spawn(fun() -> watch(Events, list_to_integer(Peers), Up) end),
    case More of
        [] -> ok;
        [List, Seconds] -> spawn(fun() -> script(names(List), 1000 * list_to_integer(Seconds), Watch) end)
    end,
    spawn(fun() -> io:get_line(""), halt(0) end).

now_us() -> erlang:system_time(microsecond).

watch(Events, Peers, Up) ->
    ok = net_kernel:monitor_nodes(true),
    {ok, File} = file:open(Events, [append, raw]),
    note(File, "up", Up),
    watch_on(File, Peers, have(File, Peers, false)).

watch_on(File, Peers, Joined) ->
    receive
        {nodeup, _} ->
            ok;
        {nodedown, _} ->
            note(File, "down", now_us());
        {note, What} ->
            note(File, What, now_us())
    end,
    watch_on(File, Peers, have(File, Peers, Joined)).

have(File, Peers, Joined) ->
    case Joined orelse length(nodes()) >= Peers of
        Joined ->
            Joined;
        true ->
            note(File, "joined", now_us()),
            true
    end.

note(File, What, Time) ->
    ok = file:write(File, [What, " ", integer_to_list(Time), "\n"]).

names(List) ->
    {ok, Bytes} = file:read_file(List),
    [list_to_atom(Line) || Line <- string:lexemes(binary_to_list(Bytes), "\n")].

script(Names, Pause, Watch) ->
    lists:foreach(fun(Name) -> attempt(Name, Watch) end, Names -- [node() | nodes()]),
    timer:sleep(Pause),
    script(Names, Pause, Watch).

attempt(Name, Watch) ->
    Watch ! {note, case lists:member(Name, nodes()) of true -> "needless"; false -> "called" end},
    net_kernel:connect_node(Name).
