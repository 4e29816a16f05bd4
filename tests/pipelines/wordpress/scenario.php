<?php
/** A site that uses the plugin with a real installation: `php scenario.php PLUGIN URL ADMIN_TOKEN`. Says what it saw, as JSON. */
require __DIR__ . '/stand-ins.php';

function said( $work ) {
	try {
		ob_start();
		$value = $work();
		return $value ?? ob_get_contents();
	} catch ( Exception $error ) {
		return $error->getMessage();
	} finally {
		ob_end_clean();
	}
}
function post( $id, $title, $more = array() ) {
	global $site;
	$post = new WP_Post();
	foreach ( array( 'ID' => $id, 'post_title' => $title ) + $more as $name => $value ) {
		$post->$name = $value;
	}
	$site->posts[ $id ] = $post;
	return $post;
}

/** How many posts wait to be hidden, as the page of the settings says. */
function waiting() {
	return preg_match( '/wait to be hidden: (\d+)/', said( 'hitparade_page' ), $found ) ? (int) $found[1] : 0;
}

list( , , $url, $token ) = $argv;
$seen = array();
do_action( 'init' );
do_action( 'admin_init' );

$seen['block'] = is_readable( $site->scripts['hitparade-block'] );

// Without an address nothing is sent, and nothing is shown.
post( 7, 'Seven' );
do_action( 'wp_after_insert_post', 7 );
$seen['without'] = array( count( $site->cron ), hitparade_render( array() ) );

$entered                    = array( 'url' => "$url/", 'admin_token' => $token, 'types' => array( 'post', 'nonsense', 'attachment', 'page' ), 'after' => '5s"', 'dnt' => '1' );
$site->options['hitparade'] = call_user_func( $site->setting['sanitize_callback'], $entered );
$seen['settings']           = $site->options['hitparade'];
$seen['kept']               = hitparade_sanitize( array( 'url' => $url ) )['admin_token'] === $token;
$seen['forgotten']          = hitparade_sanitize( array( 'url' => $url, 'forget_admin_token' => '1' ) )['admin_token'];
$seen['bad_url']            = array( hitparade_sanitize( array( 'url' => 'javascript:alert(1)' ) )['url'], $site->errors );
$page                       = said( 'hitparade_page' );
$seen['page']               = array( false === strpos( $page, $token ), substr_count( $page, '_wpnonce' ), substr_count( $page, 'hitparade[types][]' ) );
$site->user_may             = false;
$seen['stranger']           = array( said( 'hitparade_page' ), said( 'hitparade_send_all' ) );
$site->user_may             = true;
$site->nonce_is_good        = false;
$seen['forged']             = said( 'hitparade_send_all' );
$site->nonce_is_good        = true;

// The beacon, with an id that tries to break out.
$site->queried = post( 8, 'Eight' );
add_filter( 'hitparade_post_id', fn( $id ) => '8' === $id ? '8" onload="x' : $id );
do_action( 'wp_enqueue_scripts' );
$seen['beacon'] = array( $site->scripts['hitparade'] ?? null, apply_filters( 'script_loader_tag', '<script src="' . $site->scripts['hitparade'] . '" async></script>', 'hitparade' ) );
unset( $site->scripts['hitparade'] );
$site->queried                = post( 9, 'Secret', array( 'post_password' => 'x' ) );
do_action( 'wp_enqueue_scripts' );
$seen['beacon_of_secret']     = isset( $site->scripts['hitparade'] );

// Cards: saved twice, sent once; titles are text, long ones are cut where a character ends.
post( 7, 'Fish & "Chips" <script>x</script>', array( 'tags' => array( 'food' ), 'image' => 'https://blog.example/7.jpg' ) );
do_action( 'wp_after_insert_post', 7 );
do_action( 'set_object_terms', 7 );
$seen['scheduled'] = count( $site->cron );
post( 10, str_repeat( 'é', 600 ), array( 'image' => 'http://blog.example/10.jpg' ) );
do_action( 'wp_after_insert_post', 10 );
post( 11, 'a draft', array( 'post_status' => 'draft' ) );
do_action( 'wp_after_insert_post', 11 );
run_cron();
$seen['meta'] = $site->meta;

// Taken back, deleted, and back again.
post( 12, 'Twelve' );
post( 13, 'Thirteen' );
foreach ( array( 12, 13 ) as $id ) {
	do_action( 'wp_after_insert_post', $id );
}
run_cron();
$site->posts[12]->post_status = 'private';
do_action( 'wp_after_insert_post', 12 );
do_action( 'before_delete_post', 13 );
unset( $site->posts[13] );
run_cron();
$seen['hidden_meta']          = $site->meta[12];
post( 14, 'Fourteen' );
foreach ( array( 'publish', 'private', 'publish' ) as $status ) {
	$site->posts[14]->post_status = $status;
	do_action( 'wp_after_insert_post', 14 );
	run_cron();
}

// All posts, a page at a time.
for ( $id = 1000; $id < 1450; $id++ ) {
	post( $id, "Post $id" );
}
$before            = $site->requests;
$seen['send_all']  = said( 'hitparade_send_all' );
run_cron();
$seen['pages']     = $site->requests - $before;
$seen['sending']   = array( hitparade_sending_in_words() );

// A token that is refused is said on the page of the settings.
$good                                      = $site->options['hitparade']['admin_token'];
$site->options['hitparade']['admin_token'] = 'another';
said( 'hitparade_send_all' );
$seen['sending'][] = hitparade_sending_in_words();
run_cron();
$seen['sending'][] = hitparade_sending_in_words();
$seen['said']      = false !== strpos( said( 'hitparade_page' ), 'the installation refuses it' );
$site->options['hitparade']['admin_token'] = $good;

// The installation is away: the card waits, longer each time.
$good                              = $site->options['hitparade']['url'];
$site->options['hitparade']['url'] = 'http://127.0.0.1:9';
do_action( 'wp_after_insert_post', 7 );
run_cron();
$seen['again_in_s'] = array_values( $site->cron )[0][0] - time();
$site->cron         = array();
$site->options['hitparade']['url'] = $good;

// Taken back and deleted while the token is refused, or the installation is away for long: hidden as soon as it may be.
foreach ( array( 20, 21, 22 ) as $id ) {
	post( $id, "Post $id" );
	do_action( 'wp_after_insert_post', $id );
}
run_cron();
$good                                      = $site->options['hitparade']['admin_token'];
$site->options['hitparade']['admin_token'] = 'another';
$site->posts[20]->post_status              = 'private';
do_action( 'wp_after_insert_post', 20 );
do_action( 'before_delete_post', 21 );
unset( $site->posts[21], $site->meta[21] );
run_cron();
$seen['waiting'] = array( waiting() );
hitparade_send_card( '20', 20, 9 );
$seen['last_try_in_s'] = max( array_merge( array( 0 ), array_column( $site->cron, 0 ) ) ) - time();
$site->options['hitparade']['admin_token'] = $good;
run_cron( time() + 60 );
$seen['waiting'][] = waiting();
// While the plugin was not active, nobody heard of it; and a deletion that waits does not get lost by that.
$site->options['hitparade']['admin_token'] = 'another';
post( 23, 'Post 23' );
$site->meta[23] = array( '_hitparade' => 'shown' );
do_action( 'before_delete_post', 23 );
unset( $site->posts[23], $site->meta[23] );
$site->posts[22]->post_status = 'private';
hitparade_deactivate();
$site->options['hitparade']['admin_token'] = $good;
said( 'hitparade_send_all' );
run_cron();
$seen['waiting'][] = waiting();

// Pages were shown, and count no more: what is public stays as it is, all else is hidden, heard of or found by the button; also
// where nothing counts.
for ( $id = 24; $id < 29; $id++ ) {
	post( $id, "Page $id", array( 'post_type' => 'page' ) );
	do_action( 'wp_after_insert_post', $id );
}
run_cron();
post( 29, 'never shown', array( 'post_type' => 'page', 'post_status' => 'private' ) );
$types                               = $site->options['hitparade']['types'];
$site->options['hitparade']['types'] = array( 'post' );
$site->posts[24]->post_status        = 'private';
foreach ( array( 24, 27, 29 ) as $id ) {
	do_action( 'wp_after_insert_post', $id );
}
do_action( 'before_delete_post', 26 );
unset( $site->posts[26], $site->meta[26] );
$seen['deselected'] = array( array_column( array_column( $site->cron, 2 ), 0 ), waiting() );
run_cron();
$seen['deselected'][]         = waiting();
$site->posts[25]->post_status = 'trash';
said( 'hitparade_send_all' );
run_cron();
$chosen                              = count( array_filter( $site->posts, fn( $post ) => 'post' === $post->post_type && 'publish' === $post->post_status ) );
$seen['deselected'][]                = hitparade_sending_in_words() === 'All cards were sent: ' . ( $chosen + 1 ) . '.';
$seen['deselected'][]                = waiting();
$site->options['hitparade']['types'] = array();
$site->posts[28]->post_password      = 'x';
said( 'hitparade_send_all' );
run_cron();
array_push( $seen['deselected'], hitparade_sending_in_words(), waiting() );
$site->options['hitparade']['types'] = $types;

// Of all cards, one that is refused: it is not counted, and said.
post( 30, 'without a time', array( 'time' => '' ) );
post( 31, 'of an old newspaper', array( 'time' => '1923-04-05T00:00:00Z' ) );
post( 32, 'refused' );
add_filter( 'hitparade_card', fn( $card ) => '32' === $card['post_id'] ? array( 'timestamp' => 'soon' ) + $card : $card );
said( 'hitparade_send_all' );
run_cron();
$seen['refused'] = array( hitparade_sending_in_words(), count( array_filter( $site->posts, fn( $post ) => 'publish' === $post->post_status ) ), array_key_exists( 32, $site->meta ), $site->meta[31] );

// Taken back, deleted and locked by somebody else while their cards are on their way.
for ( $id = 33; $id < 36; $id++ ) {
	post( $id, "Post $id" );
}
$private              = clone $site->posts[33];
$private->post_status = 'private';
$locked                = clone $site->posts[35];
$locked->post_password = 'x';
$meanwhile             = array( 33 => $private, 34 => null, 35 => $locked );
post( 36, 'Post 36' );
do_action( 'wp_after_insert_post', 36 );
run_cron();
add_filter(
	'hitparade_card',
	function ( $card ) use ( &$meanwhile ) {
		global $site;
		if ( array_key_exists( $card['post_id'], $meanwhile ) ) {
			$site->elsewhere[ $card['post_id'] ] = $meanwhile[ $card['post_id'] ];
			unset( $meanwhile[ $card['post_id'] ] );
		}
		return $card;
	}
);
do_action( 'wp_after_insert_post', 33 );
do_action( 'wp_after_insert_post', 34 );
run_cron();
said( 'hitparade_send_all' );
run_cron();
// And published again while it is told that it is hidden.
$site->elsewhere[36]     = clone $site->posts[36];
$private                 = clone $site->posts[36];
$private->post_status    = 'private';
$site->posts[36]         = $private;
do_action( 'wp_after_insert_post', 36 );
run_cron();
run_cron();
$seen['meanwhile'] = array( count( $meanwhile ), waiting() );

// The chart: once a minute, whoever looks; the old one while nobody answers; nothing of it becomes HTML.
for ( $looks = 0; $looks < 100 && false === strpos( file_get_contents( "$url/top-posts?region=EU&timeframe=all&k=3" ), 'Fish' ); $looks++ ) {
	usleep( 200000 );
}
$before         = $site->requests;
$seen['chart']  = hitparade_render( array( 'region' => 'EU', 'timeframe' => 'all', 'k' => '3', 'sort' => 'nonsense' ) );
$seen['again']  = hitparade_render( array( 'region' => 'EU', 'timeframe' => 'all', 'k' => '3' ) ) === $seen['chart'];
$seen['asked']  = $site->requests - $before;
$seen['month']  = hitparade_render( array( 'region' => 'EU', 'timeframe' => 'this-month', 'k' => '3' ) ) === $seen['chart'];
$seen['window'] = array( hitparade_timeframe( 'last-week' ), hitparade_timeframe( '90d' ), hitparade_timeframe( 'next-week' ), hitparade_timeframe( '7d&k=5' ) );
$site->options['hitparade']['url'] = 'http://127.0.0.1:9';
$before                            = $site->requests;
$seen['nothing']                   = array( hitparade_render( array() ), hitparade_render( array() ), $site->requests - $before );
$key                               = array_key_last( $site->transients );
$hostile                           = array( 'post_id' => 'x', 'content' => '<img onerror=x>', 'url' => 'javascript:alert(1)', 'author' => '"><b>', 'view_count' => 1234 );
$site->transients[ $key ]          = array( 'until' => 0, 'posts' => array( $hostile ) );
$seen['stale']                     = hitparade_render( array() );

echo json_encode( $seen );
