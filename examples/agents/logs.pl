#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;
$| = 1;

sub answer { print $json->encode({@_}), "\n"; exit 0 }

my $request = $json->decode(do { local $/; <STDIN> });
my $folder = $request->{settings}{folder} // '/var/log';

if ($request->{kind} eq 'activation_check') {
    exit 0 if -d $folder;
    print STDERR "there is no folder $folder\n";    # the reason that the node gives
    exit 1;
}

my ($file, $patterns) = @{$request->{data}}{qw(file patterns)};
my %compiled = map {
    my $text = $_;
    $text => eval { qr/$text/ } // answer(status => 4, message => "$text is not an expression of Perl")
} @$patterns;

open my $log, '<:encoding(UTF-8)', "$folder/$file" or answer(status => 1, message => "$folder/$file: $!");
my ($lines, %counts, %last) = (0, map { $_ => 0 } @$patterns);
while (my $line = <$log>) {
    chomp $line;
    print $json->encode({progress => "$. lines"}), "\n" if ++$lines % 100_000 == 0;
    for my $text (grep { $line =~ $compiled{$_} } @$patterns) {
        $counts{$text}++;
        $last{$text} = substr $line, 0, 200;
    }
}
answer(data => {lines => $lines, counts => \%counts, last => \%last});
