%% Speaks the packets of libcluster's strategy Gossip, as the strategy does: a heartbeat for one name, again
%% and again, and a line for each name that is heard. It ends when its input does.
%%
%%     escript gossip_peer.escript GROUP PORT INTERFACE NAME [SECRET]
-mode(compile).

main([Group, Port, Interface, Name | Secrets]) ->
    ok = io:setopts([{encoding, unicode}]),
    To = {address(Group), list_to_integer(Port)},
    Key = key(Secrets),
    {ok, Socket} = gen_udp:open(element(2, To), [
        binary, {active, true}, {ip, {0, 0, 0, 0}}, {reuseaddr, true}, {broadcast, true},
        {multicast_ttl, 1}, {multicast_loop, true}, {multicast_if, address(Interface)},
        {add_membership, {element(1, To), address(Interface)}}
    ]),
    Self = self(),
    spawn(fun() -> eof = io:get_line(""), Self ! ended end),
    io:put_chars("up\n"),
    self() ! heartbeat,
    loop(Socket, To, Key, list_to_atom(Name)).

loop(Socket, {Group, Port} = To, Key, Name) ->
    receive
        heartbeat ->
            ok = gen_udp:send(Socket, Group, Port, packet(Key, Name)),
            erlang:send_after(rand:uniform(200), self(), heartbeat),
            loop(Socket, To, Key, Name);
        {udp, Socket, _, _, Packet} ->
            heard(read(Key, Packet)),
            loop(Socket, To, Key, Name);
        ended ->
            gen_udp:close(Socket)
    end.

packet(none, Name) ->
    ["heartbeat::", term_to_binary(#{node => Name})];
packet(Key, Name) ->
    Iv = crypto:strong_rand_bytes(16),
    [Iv, crypto:crypto_one_time(aes_256_cbc, Key, Iv, padded(iolist_to_binary(packet(none, Name))), true)].

read(none, Packet) ->
    Packet;
read(Key, <<Iv:16/binary, Encrypted/binary>>) when byte_size(Encrypted) rem 16 =:= 0, Encrypted =/= <<>> ->
    Padded = crypto:crypto_one_time(aes_256_cbc, Key, Iv, Encrypted, false),
    Size = byte_size(Padded) - binary:last(Padded),
    case Padded of
        <<Clear:Size/binary, _/binary>> -> Clear;
        _ -> <<>>
    end;
read(_, _) ->
    <<>>.

heard(<<"heartbeat::", Term/binary>>) ->
    #{node := Name} = binary_to_term(Term),
    get(Name) =:= heard orelse io:put_chars(["heard ", atom_to_list(Name), "\n"]),
    put(Name, heard);
heard(_) ->
    ok.

padded(Clear) ->
    Size = 16 - byte_size(Clear) rem 16,
    <<Clear/binary, (binary:copy(<<Size>>, Size))/binary>>.

key([]) -> none;
key([Secret]) -> crypto:hash(sha256, Secret).

address(Text) ->
    {ok, Address} = inet:parse_ipv4_address(Text),
    Address.
