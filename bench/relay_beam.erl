%% Load between two BEAM nodes; bench/relay_beam.py compiles it and starts both nodes.
%%
%% The near node runs main/1 with: a mode, the far node, seconds to warm up, and seconds to measure. It prints a
%% line when it is connected, and one of figures; then it lives until its stdin ends, so that its CPU time can be
%% read. Both lines are JSON. The far node runs nothing: its share is spawned from here.
-module(relay_beam).
-export([main/1, echo/0, acknowledge/0, count/1]).

-define(SMALL, 64).
-define(LARGE, 1000000).
%% Large messages on their way at once: enough to keep the link busy, too few to fill a mailbox.
-define(WINDOW, 8).
%% One-way messages between two looks at the clock.
-define(BATCH, 100).

main([Mode, Far, Warm, Seconds]) ->
    Node = list_to_atom(Far),
    case net_kernel:connect_node(Node) of
        true ->
            io:format("{\"connected\": true}~n"),
            io:format("~s~n", [run(Mode, Node, list_to_float(Warm), list_to_float(Seconds))]);
        _ -> io:format("no connection to ~s~n", [Far])
    end,
    io:get_line(""),
    halt(0).

run("sequential", Node, Warm, Seconds) -> round_trips(Node, 1, Warm, Seconds);
run("parallel", Node, Warm, Seconds) -> round_trips(Node, 32, Warm, Seconds);
run("large", Node, Warm, Seconds) -> large(Node, Warm, Seconds);
run("oneway", Node, Warm, Seconds) -> oneway(Node, Warm, Seconds).

now_ns() -> erlang:monotonic_time(nanosecond).

ns(Seconds) -> round(Seconds * 1.0e9).

%% ---- round trips of small messages, each process with a partner of its own ----

round_trips(Node, Processes, Warm, Seconds) ->
    Begin = now_ns() + ns(Warm),
    End = Begin + ns(Seconds),
    Parent = self(),
    Workers = [spawn_link(fun() -> Parent ! {self(), pinger(Node, Begin, End)} end) || _ <- lists:seq(1, Processes)],
    Results = [receive {Worker, Result} -> Result end || Worker <- Workers],
    Times = lists:sort(lists:append([Measured || {Measured, _} <- Results])),
    Total = lists:sum([All || {_, All} <- Results]),
    latencies(Times, Total, Seconds).

pinger(Node, Begin, End) ->
    Partner = spawn_link(Node, ?MODULE, echo, []),
    Message = binary:copy(<<"x">>, ?SMALL),
    ping(Partner, Message, Begin, End, now_ns(), [], 0).

ping(_, _, _, End, Now, Times, All) when Now >= End -> {Times, All};
ping(Partner, Message, Begin, End, Started, Times, All) ->
    Partner ! {self(), Message},
    receive Message -> ok end,
    Now = now_ns(),
    case Started >= Begin of
        true -> ping(Partner, Message, Begin, End, Now, [Now - Started | Times], All + 1);
        false -> ping(Partner, Message, Begin, End, Now, Times, All + 1)
    end.

echo() ->
    receive {From, Message} -> From ! Message end,
    echo().

%% ---- large messages one way, at most WINDOW unacknowledged ----

large(Node, Warm, Seconds) ->
    Sink = spawn_link(Node, ?MODULE, acknowledge, []),
    Message = binary:copy(<<"x">>, ?LARGE),
    [Sink ! {self(), Message} || _ <- lists:seq(1, ?WINDOW)],
    Begin = now_ns() + ns(Warm),
    {Count, All} = stream(Sink, Message, Begin, Begin + ns(Seconds), 0, 0),
    report(Count * ?LARGE, (All + ?WINDOW) * ?LARGE, Seconds, "").

stream(Sink, Message, Begin, End, Count, All) ->
    receive ok -> ok end,
    case now_ns() of
        Now when Now >= End ->
            [receive ok -> ok end || _ <- lists:seq(2, ?WINDOW)],
            {Count, All};
        Now ->
            Sink ! {self(), Message},
            stream(Sink, Message, Begin, End, case Now >= Begin of true -> Count + 1; false -> Count end, All + 1)
    end.

acknowledge() ->
    receive {From, Message} when byte_size(Message) =:= ?LARGE -> From ! ok end,
    acknowledge().

%% ---- small messages one way, until the last of them has been received ----

oneway(Node, Warm, Seconds) ->
    Warmed = oneway_part(Node, Warm),
    Started = now_ns(),
    Count = oneway_part(Node, Seconds),
    report(Count, Count + Warmed, (now_ns() - Started) / 1.0e9, "").

oneway_part(Node, Seconds) ->
    Sink = spawn_opt(Node, ?MODULE, count, [0], [link, {message_queue_data, off_heap}]),
    Sent = flood(Sink, binary:copy(<<"x">>, ?SMALL), now_ns() + ns(Seconds), 0),
    Sink ! {done, self()},
    receive {counted, Sent} -> Sent end.

flood(Sink, Message, End, Sent) ->
    [Sink ! Message || _ <- lists:seq(1, ?BATCH)],
    case now_ns() >= End of
        true -> Sent + ?BATCH;
        false -> flood(Sink, Message, End, Sent + ?BATCH)
    end.

count(Received) ->
    receive
        {done, From} -> unlink(From), From ! {counted, Received};
        _ -> count(Received + 1)
    end.

%% ---- the line of figures ----

latencies(Times, Total, Seconds) ->
    Length = length(Times),
    Sorted = list_to_tuple(Times),
    At = fun(Share) -> element(min(Length, 1 + trunc(Length * Share)), Sorted) / 1000 end,
    Mean = lists:sum(Times) / Length / 1000,
    report(Length, Total, Seconds,
           io_lib:format(", \"mean_us\": ~.2f, \"p50_us\": ~.2f, \"p99_us\": ~.2f", [Mean, At(0.5), At(0.99)])).

report(Count, Total, Seconds, More) ->
    io_lib:format("{\"count\": ~b, \"total\": ~b, \"seconds\": ~.6f, \"rate\": ~.2f~s}",
                  [Count, Total, float(Seconds), Count / Seconds, More]).
