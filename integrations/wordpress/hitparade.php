<?php
/**
 * Plugin Name:       Hitparade
 * Description:       Counts the plays of your posts, and shows which are played most.
 * Version:           0.2.0
 * Requires at least: 6.3
 * Requires PHP:      7.4
 * License:           MIT
 * Text Domain:       hitparade
 *
 * Put this folder into wp-content/plugins/hitparade/, activate it, and name the installation under Settings, Hitparade.
 *
 * - Single posts count by the installation's beacon.js; nothing of the visitor is stored or sent by this plugin.
 * - What the chart shows of a post (title, author, tags, address, picture) goes to the installation when the post changes,
 *   from WP-Cron, so that saving never waits for it. A post that is not public any more is hidden, however long that takes.
 * - The block "Top posts" (and the shortcode [hitparade]) renders the chart on the server, from a cache of one minute. While
 *   the installation does not answer, the last chart stays, for a week.
 *
 * Options: `hitparade`, `hitparade_sending`, `hitparade_gone_…`. Post meta: `_hitparade`. Transients: `hitparade_chart_…`. All go when the
 * plugin is deleted, on every site of a network.
 *
 * @package Hitparade
 */

defined( 'ABSPATH' ) || exit;

/** The chart is asked for so often, however many visitors there are, in seconds. */
const HITPARADE_FRESH_S = 60;
/** And shown for so long while the installation does not answer. */
const HITPARADE_STALE_S = 604800;
/** A visitor waits no longer for a chart that is not cached. */
const HITPARADE_TIMEOUT_S = 3;
/** After a failure, nobody asks for so long. */
const HITPARADE_PAUSE_S = 30;
/** What the installation takes of each field, in bytes. */
const HITPARADE_LIMITS = array( 'author' => 256, 'content' => 1024, 'url' => 1024, 'image' => 1024 );
/** A card that could not be sent is tried again after so many seconds, each time twice as long, this often. */
const HITPARADE_RETRY_S = 60;
const HITPARADE_TRIES = 10;
/** Cards in one request when all posts are sent. */
const HITPARADE_PAGE = 200;

/**
 * The settings, each with its default.
 *
 * @return array{url: string, admin_token: string, read_token: string, types: string[], after: string, dnt: bool}
 */
function hitparade_settings() {
	$defaults = array( 'url' => '', 'admin_token' => '', 'read_token' => '', 'types' => array( 'post' ), 'after' => '10s', 'dnt' => false );
	$stored   = get_option( 'hitparade', array() );
	$settings = array_merge( $defaults, is_array( $stored ) ? array_intersect_key( $stored, $defaults ) : array() );
	// A secret may stand in wp-config.php instead of the database.
	if ( defined( 'HITPARADE_ADMIN_TOKEN' ) ) {
		$settings['admin_token'] = HITPARADE_ADMIN_TOKEN;
	}
	return $settings;
}

/**
 * A post's id in the charts.
 *
 * @param int $post_id The post.
 * @return string
 */
function hitparade_id( $post_id ) {
	return (string) apply_filters( 'hitparade_post_id', (string) $post_id, $post_id );
}

/**
 * Whether everybody may see that a post is there.
 *
 * @param WP_Post $post The post.
 * @return bool
 */
function hitparade_is_public( $post ) {
	return 'publish' === $post->post_status && '' === $post->post_password;
}

/**
 * The types of posts whose pages everybody may see. An attachment has the state of the post that it belongs to.
 *
 * @return WP_Post_Type[] By name.
 */
function hitparade_types() {
	$types = get_post_types( array( 'public' => true ), 'objects' );
	unset( $types['attachment'] );
	return $types;
}

/* ---------- Counting ---------- */

add_action( 'wp_enqueue_scripts', 'hitparade_enqueue' );
/** The beacon, on the pages of single posts. */
function hitparade_enqueue() {
	$settings = hitparade_settings();
	// Of no types, is_singular() would say yes to all.
	if ( '' === $settings['url'] || empty( $settings['types'] ) || ! is_singular( $settings['types'] ) || is_preview() ) {
		return;
	}
	$post = get_queried_object();
	if ( ! $post instanceof WP_Post || ! hitparade_is_public( $post ) ) {
		return;
	}
	// The version is the installation's: it serves one file, and says itself how long it is fresh.
	wp_enqueue_script( 'hitparade', $settings['url'] . '/beacon.js', array(), null, array( 'strategy' => 'async' ) ); // phpcs:ignore WordPress.WP.EnqueuedResourceParameters.MissingVersion
}

add_filter( 'script_loader_tag', 'hitparade_script_tag', 10, 2 );
/**
 * Tells the beacon which post this is.
 *
 * @param string $tag    The script's tag.
 * @param string $handle Its name.
 * @return string
 */
function hitparade_script_tag( $tag, $handle ) {
	if ( 'hitparade' !== $handle ) {
		return $tag;
	}
	$settings   = hitparade_settings();
	$attributes = sprintf( ' data-post="%s" data-after="%s"%s', esc_attr( hitparade_id( get_queried_object_id() ) ), esc_attr( $settings['after'] ), $settings['dnt'] ? ' data-dnt' : '' );
	// Inline scripts of others may stand before it.
	return preg_replace( '/<script\b(?=[^>]*\ssrc=)/', '<script' . addcslashes( $attributes, '\\$' ), $tag, 1 );
}

/* ---------- Cards ---------- */

add_action( 'wp_after_insert_post', 'hitparade_post_changed', 10, 1 );
add_action( 'set_object_terms', 'hitparade_post_changed', 10, 1 );
add_action( 'before_delete_post', 'hitparade_post_changed', 10, 1 );
add_action( 'trashed_post', 'hitparade_post_changed', 10, 1 );
/**
 * Notes that a post's card is to be sent. What it says is read when it goes.
 *
 * @param int $post_id The post.
 */
function hitparade_post_changed( $post_id ) {
	$settings = hitparade_settings();
	$post     = get_post( $post_id );
	if ( ! $post || wp_is_post_revision( $post_id ) || wp_is_post_autosave( $post_id ) ) {
		return;
	}
	// What was never public needs no card. What the installation knows of is hidden when it can be, also where its type counts
	// no more.
	$is_public  = hitparade_is_public( $post );
	$is_going   = 'before_delete_post' === current_action();
	$may_send   = '' !== $settings['url'] && '' !== $settings['admin_token'] && $is_public && in_array( $post->post_type, $settings['types'], true );
	$is_to_hide = ( $is_going || ! $is_public ) && '' !== (string) get_post_meta( $post_id, '_hitparade', true );
	if ( ! $may_send && ! $is_to_hide ) {
		return;
	}
	$id = hitparade_id( $post_id );
	hitparade_schedule( $id, $is_going ? 0 : (int) $post_id, 0 );
}

/**
 * The option that keeps the id of a deleted post until the installation has hidden it: one for each, as two may go at once.
 *
 * @param string $id The id in the charts.
 * @return string
 */
function hitparade_gone_option( $id ) {
	return 'hitparade_gone_' . md5( $id );
}

/**
 * The ids of deleted posts that wait to be hidden.
 *
 * @return string[]
 */
function hitparade_gone() {
	global $wpdb;
	// phpcs:ignore WordPress.DB
	return $wpdb->get_col( $wpdb->prepare( "SELECT option_value FROM {$wpdb->options} WHERE option_name LIKE %s", $wpdb->esc_like( 'hitparade_gone_' ) . '%' ) );
}

/**
 * Sends a card soon, from WP-Cron. Saved twice in a minute, it is sent once.
 *
 * @param string $id      The id in the charts.
 * @param int    $post_id The post, or 0 where it is gone.
 * @param int    $tries   How often it was tried.
 */
function hitparade_schedule( $id, $post_id, $tries ) {
	$arguments = array( $id, $post_id, $tries );
	if ( 0 === $post_id ) {
		// What is noted with a post goes with it.
		add_option( hitparade_gone_option( $id ), $id, '', false );
	}
	if ( ! wp_next_scheduled( 'hitparade_send_card', $arguments ) ) {
		wp_schedule_single_event( time() + ( $tries > 0 ? HITPARADE_RETRY_S << ( $tries - 1 ) : 0 ), 'hitparade_send_card', $arguments );
	}
}

add_action( 'hitparade_send_card', 'hitparade_send_card', 10, 3 );
/**
 * Sends a card; later again where the installation does not take it. What is to be hidden is sent until it is taken.
 *
 * @param string $id      The id in the charts.
 * @param int    $post_id The post, or 0 where it is gone.
 * @param int    $tries   How often it was tried before.
 */
function hitparade_send_card( $id, $post_id, $tries ) {
	$post = $post_id ? get_post( $post_id ) : null;
	$card = $post ? hitparade_card( $post ) : array( 'post_id' => $id, 'hidden' => true );

	list( $code, $refused ) = hitparade_put( array( $card ) );
	if ( 200 === $code ) {
		if ( $post && ! $refused ) {
			hitparade_note( $post );
		} elseif ( ! $post ) {
			delete_option( hitparade_gone_option( $id ) );
		}
	} elseif ( ! $post || ! hitparade_is_public( $post ) || ( hitparade_is_away( $code ) && $tries + 1 < HITPARADE_TRIES ) ) {
		hitparade_schedule( $id, $post_id, min( $tries + 1, HITPARADE_TRIES - 1 ) );
	}
}

/**
 * Whether the installation may take the same again.
 *
 * @param int $code A status; 0 where there was no answer.
 * @return bool
 */
function hitparade_is_away( $code ) {
	return 0 === $code || 429 === $code || $code >= 500;
}

/**
 * Remembers what the installation was told of a post: it is shown, or it is hidden.
 *
 * @param WP_Post $post The post, as it was told.
 */
function hitparade_note( $post ) {
	$is_shown = hitparade_is_public( $post );
	update_post_meta( $post->ID, '_hitparade', $is_shown ? 'shown' : 'hidden' );
	// Whoever took it back, or published it, while its card was on its way found the note of before.
	wp_cache_delete( $post->ID, 'posts' );
	$now = get_post( $post->ID );
	if ( ( $now && hitparade_is_public( $now ) ) !== $is_shown ) {
		hitparade_schedule( hitparade_id( $post->ID ), $now ? $post->ID : 0, 0 );
	}
}

/**
 * What the chart shows of a post. Texts are plain: the installation never makes HTML of them.
 *
 * @param WP_Post $post The post.
 * @return array<string, mixed>
 */
function hitparade_card( $post ) {
	$id = hitparade_id( $post->ID );
	if ( ! hitparade_is_public( $post ) ) {
		return array( 'post_id' => $id, 'hidden' => true );
	}
	$tags  = wp_get_post_terms( $post->ID, 'post_tag', array( 'fields' => 'names' ) );
	$image = get_the_post_thumbnail_url( $post, 'medium' );
	$time  = (string) get_post_time( 'Y-m-d\TH:i:s\Z', true, $post );
	$card  = array(
		'post_id'   => $id,
		'content'   => hitparade_plain( get_the_title( $post ) ),
		'author'    => hitparade_plain( (string) get_the_author_meta( 'display_name', (int) $post->post_author ) ),
		'url'       => (string) get_permalink( $post ),
		'image'     => $image ? (string) $image : null,
		// Some posts have none, and the installation takes none of before 1970.
		'timestamp' => strcmp( $time, '1970' ) >= 0 ? $time : null,
		'tags'      => is_array( $tags ) ? array_slice( array_values( array_filter( array_map( 'hitparade_plain', $tags ), 'hitparade_is_tag' ) ), 0, 8 ) : array(),
	);
	// Only what this plugin has hidden: somebody else may have hidden a post from the charts for good.
	if ( 'hidden' === get_post_meta( $post->ID, '_hitparade', true ) ) {
		$card['hidden'] = false;
	}
	foreach ( array( 'author', 'content' ) as $field ) {
		$card[ $field ] = hitparade_cut( $card[ $field ], HITPARADE_LIMITS[ $field ] );
	}
	foreach ( array( 'url', 'image' ) as $field ) {
		// The installation takes https alone, and half an address is none.
		if ( null !== $card[ $field ] && ( 0 !== strpos( $card[ $field ], 'https://' ) || strlen( $card[ $field ] ) > HITPARADE_LIMITS[ $field ] ) ) {
			$card[ $field ] = null;
		}
	}
	return (array) apply_filters( 'hitparade_card', $card, $post );
}

/**
 * WordPress keeps titles and names with entities; the installation takes text.
 *
 * @param string $html As WordPress has it.
 * @return string
 */
function hitparade_plain( $html ) {
	return html_entity_decode( wp_strip_all_tags( $html ), ENT_QUOTES, 'UTF-8' );
}

/**
 * Whether the installation takes a tag: one that it does not take would cost the whole card.
 *
 * @param string $tag Plain text.
 * @return bool
 */
function hitparade_is_tag( $tag ) {
	return '' !== $tag && strlen( $tag ) <= 64 && false === strpos( $tag, ',' );
}

/**
 * The beginning of a text, in whole characters.
 *
 * @param string $text  UTF-8.
 * @param int    $bytes At most.
 * @return string
 */
function hitparade_cut( $text, $bytes ) {
	$text = preg_replace( '/[\x00-\x1F\x7F]+/', ' ', $text );
	if ( strlen( $text ) <= $bytes ) {
		return $text;
	}
	// Back to where a character begins.
	for ( $end = $bytes; $end > 0 && ( ord( $text[ $end ] ) & 0xC0 ) === 0x80; $end-- );
	return substr( $text, 0, $end );
}

/**
 * Puts cards into the catalog.
 *
 * @param array<int, array<string, mixed>> $cards The cards.
 * @return array{0: int, 1: array<int, string>} The status, 0 where there was no answer; and of cards that were refused, by
 *   their place among all, why. The others are stored.
 */
function hitparade_put( $cards ) {
	$settings = hitparade_settings();
	if ( '' === $settings['url'] || '' === $settings['admin_token'] ) {
		return array( 401, array() ); // Not set up, or not any more: trying again would not help.
	}
	$answer = wp_remote_request(
		$settings['url'] . '/posts',
		array(
			'method'      => 'PUT',
			'timeout'     => 15,
			'redirection' => 0,
			'headers'     => array( 'Content-Type' => 'application/json', 'Authorization' => 'Bearer ' . $settings['admin_token'] ),
			'body'        => wp_json_encode( $cards ),
		)
	);
	if ( is_wp_error( $answer ) ) {
		return array( 0, array() );
	}
	$said = json_decode( wp_remote_retrieve_body( $answer ), true );
	return array( (int) wp_remote_retrieve_response_code( $answer ), isset( $said['rejected'] ) && is_array( $said['rejected'] ) ? array_column( $said['rejected'], 'detail', 'index' ) : array() );
}

/* ---------- The chart ---------- */

/**
 * The top posts, from the cache where it is fresh.
 *
 * @param array{region: string, timeframe: string, k: int, sort: string} $question What is asked.
 * @return array<int, array<string, mixed>> Rows of the chart; none where there never was an answer.
 */
function hitparade_chart( $question ) {
	$settings = hitparade_settings();
	if ( '' === $settings['url'] ) {
		return array();
	}
	$address = $settings['url'] . '/top-posts?' . http_build_query( $question, '', '&', PHP_QUERY_RFC3986 );
	$key     = 'hitparade_chart_' . md5( $address );
	$cached  = get_transient( $key );
	$cached  = is_array( $cached ) ? $cached : array( 'until' => 0, 'posts' => array() );
	if ( $cached['until'] > time() ) {
		return $cached['posts'];
	}
	// Whoever comes while this one asks shows what there was.
	set_transient( $key, array( 'until' => time() + HITPARADE_TIMEOUT_S + 1, 'posts' => $cached['posts'] ), HITPARADE_STALE_S );
	$headers = '' === $settings['read_token'] ? array() : array( 'Authorization' => 'Bearer ' . $settings['read_token'] );
	$answer  = wp_remote_get( $address, array( 'timeout' => HITPARADE_TIMEOUT_S, 'redirection' => 0, 'headers' => $headers, 'limit_response_size' => 1 << 20 ) );
	$chart   = ! is_wp_error( $answer ) && 200 === (int) wp_remote_retrieve_response_code( $answer ) ? json_decode( wp_remote_retrieve_body( $answer ), true ) : null;
	if ( is_array( $chart ) && isset( $chart['top_posts'] ) && is_array( $chart['top_posts'] ) ) {
		$cached = array( 'until' => time() + HITPARADE_FRESH_S, 'posts' => array_values( array_filter( $chart['top_posts'], 'is_array' ) ) );
	} else {
		$cached['until'] = time() + HITPARADE_PAUSE_S;
	}
	set_transient( $key, $cached, HITPARADE_STALE_S );
	return $cached['posts'];
}

/**
 * A timeframe as the installation takes it; a day where it is none.
 *
 * @param string $timeframe As it was entered.
 * @return string
 */
function hitparade_timeframe( $timeframe ) {
	return preg_match( '/^(\d{1,6}[mhd]|all|today|yesterday|(this|last)-(week|month|year))$/D', $timeframe ) ? $timeframe : '24h';
}

/**
 * The block and the shortcode, as HTML.
 *
 * @param array<string, mixed>|string $attributes What the editor, or an author in a shortcode, has set.
 * @return string
 */
function hitparade_render( $attributes ) {
	$attributes = shortcode_atts(
		array( 'region' => 'global', 'timeframe' => '24h', 'k' => 10, 'sort' => 'views', 'counts' => true ),
		is_array( $attributes ) ? $attributes : array(),
		'hitparade'
	);
	$question   = array(
		'region'    => (string) $attributes['region'],
		'timeframe' => hitparade_timeframe( (string) $attributes['timeframe'] ),
		'k'         => max( 1, min( 100, (int) $attributes['k'] ) ),
		'sort'      => in_array( $attributes['sort'], array( 'views', 'rising', 'distinctive' ), true ) ? $attributes['sort'] : 'views',
	);
	$counts = filter_var( $attributes['counts'], FILTER_VALIDATE_BOOLEAN );
	$rows   = '';
	foreach ( hitparade_chart( $question ) as $row ) {
		$id    = isset( $row['post_id'] ) ? (string) $row['post_id'] : '';
		$title = isset( $row['content'] ) && '' !== $row['content'] ? (string) $row['content'] : $id;
		$url   = isset( $row['url'] ) ? esc_url( (string) $row['url'], array( 'https', 'http' ) ) : '';
		$rows .= '<li>' . ( '' === $url ? esc_html( $title ) : '<a href="' . $url . '">' . esc_html( $title ) . '</a>' );
		if ( isset( $row['author'] ) && '' !== $row['author'] ) {
			$rows .= ' <span class="hitparade-author">' . esc_html( (string) $row['author'] ) . '</span>';
		}
		if ( $counts && isset( $row['view_count'] ) ) {
			$rows .= ' <span class="hitparade-count">' . esc_html( number_format_i18n( (float) $row['view_count'] ) ) . '</span>';
		}
		$rows .= '</li>';
	}
	return '' === $rows ? '' : '<ol class="hitparade wp-block-hitparade-top-posts">' . $rows . '</ol>';
}

add_action( 'init', 'hitparade_register' );
/** The block is rendered on the server; block.js shows it in the editor. */
function hitparade_register() {
	add_shortcode( 'hitparade', 'hitparade_render' );
	wp_register_script( 'hitparade-block', plugins_url( 'block.js', __FILE__ ), array( 'wp-blocks', 'wp-element', 'wp-block-editor', 'wp-components', 'wp-server-side-render', 'wp-i18n' ), '0.2.0', true );
	register_block_type(
		'hitparade/top-posts',
		array(
			'api_version'           => 3,
			'title'                 => __( 'Top posts', 'hitparade' ),
			'description'           => __( 'Which posts are played most.', 'hitparade' ),
			'category'              => 'widgets',
			'icon'                  => 'chart-bar',
			'attributes'            => array(
				'region'    => array( 'type' => 'string', 'default' => 'global' ),
				'timeframe' => array( 'type' => 'string', 'default' => '24h' ),
				'k'         => array( 'type' => 'number', 'default' => 10 ),
				'sort'      => array( 'type' => 'string', 'default' => 'views' ),
				'counts'    => array( 'type' => 'boolean', 'default' => true ),
			),
			'editor_script_handles' => array( 'hitparade-block' ),
			'render_callback'       => 'hitparade_render',
		)
	);
}

/* ---------- Settings ---------- */

add_action( 'admin_init', 'hitparade_register_settings' );
/** One option; WordPress' own settings page sends it with a nonce and checks who may. */
function hitparade_register_settings() {
	register_setting( 'hitparade', 'hitparade', array( 'type' => 'array', 'sanitize_callback' => 'hitparade_sanitize', 'default' => array(), 'show_in_rest' => false ) );
}

/**
 * What is stored of what was entered.
 *
 * @param mixed $input As it was sent.
 * @return array<string, mixed>
 */
function hitparade_sanitize( $input ) {
	$input  = is_array( $input ) ? $input : array();
	$before = get_option( 'hitparade', array() );
	$text   = static function ( $name ) use ( $input ) {
		return isset( $input[ $name ] ) && is_string( $input[ $name ] ) ? trim( $input[ $name ] ) : '';
	};
	$url    = untrailingslashit( esc_url_raw( $text( 'url' ), array( 'https', 'http' ) ) );
	if ( '' === $url && '' !== $text( 'url' ) ) {
		add_settings_error( 'hitparade', 'url', __( 'The address of an installation is needed, such as https://charts.example.', 'hitparade' ) );
	}
	$after = $text( 'after' );
	if ( ! preg_match( '/^\d{1,4}[sm]$/', $after ) ) {
		$after = '10s';
	}
	$stored = array( 'url' => $url, 'after' => $after, 'dnt' => ! empty( $input['dnt'] ) );
	foreach ( array( 'admin_token', 'read_token' ) as $name ) {
		// A field that is left empty keeps what was stored: a token is never shown.
		$value           = preg_replace( '/[^\x21-\x7E]/', '', $text( $name ) );
		$stored[ $name ] = '' !== $value ? $value : ( is_array( $before ) && isset( $before[ $name ] ) ? $before[ $name ] : '' );
		if ( ! empty( $input[ 'forget_' . $name ] ) ) {
			$stored[ $name ] = '';
		}
	}
	$types           = isset( $input['types'] ) && is_array( $input['types'] ) ? array_map( 'sanitize_key', $input['types'] ) : array();
	$stored['types'] = array_values( array_intersect( $types, array_keys( hitparade_types() ) ) );
	return $stored;
}

add_action( 'admin_menu', 'hitparade_menu' );
/** Settings, Hitparade. */
function hitparade_menu() {
	add_options_page( 'Hitparade', 'Hitparade', 'manage_options', 'hitparade', 'hitparade_page' );
}

/** The page of the settings. */
function hitparade_page() {
	if ( ! current_user_can( 'manage_options' ) ) {
		return;
	}
	$settings = hitparade_settings();
	echo '<div class="wrap"><h1>Hitparade</h1><form action="' . esc_url( admin_url( 'options.php' ) ) . '" method="post">';
	settings_fields( 'hitparade' );
	echo '<table class="form-table" role="presentation">';
	hitparade_row( __( 'Address of the installation', 'hitparade' ), 'hitparade-url' );
	echo '<input type="url" class="regular-text" id="hitparade-url" name="hitparade[url]" value="' . esc_attr( $settings['url'] ) . '" placeholder="https://charts.example"></td></tr>';
	foreach ( array( 'admin_token' => __( 'Admin token (sends titles and pictures)', 'hitparade' ), 'read_token' => __( 'Read token (where charts need one)', 'hitparade' ) ) as $name => $label ) {
		$is_set = '' !== $settings[ $name ];
		hitparade_row( $label, 'hitparade-' . $name );
		echo '<input type="password" class="regular-text" autocomplete="off" id="hitparade-' . esc_attr( $name ) . '" name="hitparade[' . esc_attr( $name ) . ']" value="" placeholder="' . esc_attr( $is_set ? __( 'stored', 'hitparade' ) : '' ) . '">';
		if ( $is_set ) {
			echo ' <label><input type="checkbox" name="hitparade[forget_' . esc_attr( $name ) . ']" value="1"> ' . esc_html__( 'forget it', 'hitparade' ) . '</label>';
		}
		echo '</td></tr>';
	}
	hitparade_row( __( 'What counts', 'hitparade' ) );
	foreach ( hitparade_types() as $type ) {
		echo '<label><input type="checkbox" name="hitparade[types][]" value="' . esc_attr( $type->name ) . '"' . checked( in_array( $type->name, $settings['types'], true ), true, false ) . '> ' . esc_html( $type->label ) . '</label> ';
	}
	echo '</td></tr>';
	hitparade_row( __( 'After so long in view', 'hitparade' ), 'hitparade-after' );
	echo '<input type="text" class="small-text" id="hitparade-after" name="hitparade[after]" value="' . esc_attr( $settings['after'] ) . '" pattern="\d{1,4}[sm]"></td></tr>';
	hitparade_row( __( 'Do Not Track', 'hitparade' ) );
	echo '<label><input type="checkbox" name="hitparade[dnt]" value="1"' . checked( $settings['dnt'], true, false ) . '> ' . esc_html__( 'Count nobody who asks for that', 'hitparade' ) . '</label></td></tr>';
	echo '</table>';
	submit_button();
	echo '</form><h2>' . esc_html__( 'Posts that are there already', 'hitparade' ) . '</h2><form action="' . esc_url( admin_url( 'admin-post.php' ) ) . '" method="post">';
	echo '<input type="hidden" name="action" value="hitparade_send_all">';
	wp_nonce_field( 'hitparade_send_all' );
	submit_button( __( 'Send the cards of all posts', 'hitparade' ), 'secondary' );
	echo '</form><p>' . esc_html( hitparade_sending_in_words() ) . '</p>';
	$waiting = hitparade_waiting();
	if ( $waiting > 0 ) {
		/* translators: %s: a number */
		echo '<p>' . esc_html( sprintf( __( 'Posts that are not public any more, and wait to be hidden: %s. They are sent again and again; the button sends them at once.', 'hitparade' ), number_format_i18n( $waiting ) ) ) . '</p>';
	}
	echo '</div>';
}

/**
 * How many posts everybody may see no more, and the installation was not told yet.
 *
 * @return int
 */
function hitparade_waiting() {
	global $wpdb;
	// phpcs:ignore WordPress.DB
	$shown = $wpdb->get_var( "SELECT COUNT(*) FROM {$wpdb->posts} WHERE " . hitparade_is_waiting_sql() );
	return (int) $shown + count( hitparade_gone() );
}

/**
 * Which posts are not public here, and shown there: of all types, as what was counted once may be chosen no more.
 *
 * @return string A condition of SQL for the table of posts; nothing in it comes from outside.
 */
function hitparade_is_waiting_sql() {
	global $wpdb;
	return "( ( post_status <> 'publish' OR post_password <> '' ) AND ID IN ( SELECT post_id FROM {$wpdb->postmeta} WHERE meta_key = '_hitparade' AND meta_value = 'shown' ) )";
}

/**
 * How far the sending of all cards is, and what stopped it.
 *
 * @return string
 */
function hitparade_sending_in_words() {
	$sending = get_option( 'hitparade_sending', array() );
	if ( ! is_array( $sending ) || ! isset( $sending['cards'], $sending['state'] ) ) {
		return '';
	}
	$cards = number_format_i18n( $sending['cards'] );
	switch ( $sending['state'] ) {
		case 'done':
			if ( ! empty( $sending['refused'] ) ) {
				/* translators: 1, 2: numbers, 3: a post's number and what the installation said */
				return sprintf( __( 'Cards were sent: %1$s. Refused were %2$s, such as that of %3$s', 'hitparade' ), $cards, number_format_i18n( $sending['refused'] ), $sending['why'] );
			}
			/* translators: %s: a number */
			return sprintf( __( 'All cards were sent: %s.', 'hitparade' ), $cards );
		case 'under way':
			/* translators: %s: a number */
			return sprintf( __( 'Cards are being sent; %s so far.', 'hitparade' ), $cards );
		default:
			/* translators: 1: a number, 2: what the installation said */
			return sprintf( __( '%1$s cards were sent, then no more: %2$s', 'hitparade' ), $cards, $sending['state'] );
	}
}

/**
 * Notes how far it is.
 *
 * @param int      $cards   So many more were taken; less than none: it begins.
 * @param string   $state   `done`, `under way`, or what stopped it.
 * @param string[] $refused So many more were not: each with its post and why.
 */
function hitparade_note_sending( $cards, $state, $refused = array() ) {
	$none   = array( 'cards' => 0, 'refused' => 0, 'why' => '' );
	$before = get_option( 'hitparade_sending', array() );
	$before = array_merge( $none, $cards >= 0 && is_array( $before ) ? $before : array() );
	$now    = array(
		'cards'   => $before['cards'] + max( 0, $cards ),
		'state'   => $state,
		'refused' => $before['refused'] + count( $refused ),
		'why'     => $refused ? reset( $refused ) : $before['why'],
	);
	update_option( 'hitparade_sending', $now, false );
}

/**
 * The beginning of a row of the settings; its field follows.
 *
 * @param string $label Plain text.
 * @param string $for   The field's id, where there is one field without a label of its own.
 */
function hitparade_row( $label, $for = '' ) {
	echo '<tr><th scope="row">';
	if ( '' !== $for ) {
		echo '<label for="' . esc_attr( $for ) . '">' . esc_html( $label ) . '</label>';
	} else {
		echo esc_html( $label );
	}
	echo '</th><td>';
}

add_action( 'admin_post_hitparade_send_all', 'hitparade_send_all' );
/** The button: all cards, a page at a time, and what is to be hidden, from WP-Cron. */
function hitparade_send_all() {
	if ( ! current_user_can( 'manage_options' ) ) {
		wp_die( esc_html__( 'You may not do this.', 'hitparade' ), '', array( 'response' => 403 ) );
	}
	check_admin_referer( 'hitparade_send_all' );
	if ( ! wp_next_scheduled( 'hitparade_send_page', array( 0, 0 ) ) ) {
		wp_schedule_single_event( time(), 'hitparade_send_page', array( 0, 0 ) );
		hitparade_note_sending( -1, 'under way' );
	}
	foreach ( hitparade_gone() as $id ) {
		hitparade_schedule( $id, 0, 0 );
	}
	wp_safe_redirect( admin_url( 'options-general.php?page=hitparade' ) );
	exit;
}

add_action( 'hitparade_send_page', 'hitparade_send_page', 10, 2 );
/**
 * The cards of the next posts by their number, then the page after.
 *
 * @param int $after Posts up to this number were sent.
 * @param int $tries How often this page was tried.
 */
function hitparade_send_page( $after, $tries ) {
	global $wpdb;
	$types = hitparade_settings()['types'];
	// SQL knows no empty list, and nothing is in one of NULL.
	$places  = empty( $types ) ? 'NULL' : implode( ', ', array_fill( 0, count( $types ), '%s' ) );
	$waiting = hitparade_is_waiting_sql();
	// By number, not by page: a post that is made or deleted meanwhile moves none of the others. What is shown there and not
	// public here is among them, also where nothing counts.
	// phpcs:ignore WordPress.DB
	$ids = $wpdb->get_col( $wpdb->prepare( "SELECT ID FROM {$wpdb->posts} WHERE ID > %d AND ( ( post_type IN ($places) AND post_status = 'publish' ) OR $waiting ) ORDER BY ID LIMIT %d", array_merge( array( $after ), $types, array( HITPARADE_PAGE ) ) ) );
	if ( empty( $ids ) ) {
		hitparade_note_sending( 0, empty( $types ) ? __( 'nothing is chosen that counts', 'hitparade' ) : 'done' );
		return;
	}
	$posts = array_values( array_filter( array_map( 'get_post', array_map( 'intval', $ids ) ) ) );

	list( $code, $refused ) = hitparade_put( array_map( 'hitparade_card', $posts ) );
	if ( 200 === $code ) {
		$taken = array_diff_key( $posts, $refused );
		array_walk( $taken, 'hitparade_note' );
		foreach ( $refused as $place => $why ) {
			$refused[ $place ] = $posts[ $place ]->ID . ': ' . $why;
		}
		hitparade_note_sending( count( $taken ), 'under way', $refused );
		wp_schedule_single_event( time(), 'hitparade_send_page', array( (int) end( $ids ), 0 ) );
	} elseif ( hitparade_is_away( $code ) && $tries + 1 < HITPARADE_TRIES ) {
		wp_schedule_single_event( time() + ( HITPARADE_RETRY_S << $tries ), 'hitparade_send_page', array( (int) $after, $tries + 1 ) );
	} else {
		hitparade_note_sending( 0, hitparade_why( $code ) );
	}
}

/**
 * What a status of the installation means for who has set this plugin up.
 *
 * @param int $code The status; 0 where there was no answer.
 * @return string
 */
function hitparade_why( $code ) {
	if ( 401 === $code || 403 === $code ) {
		return __( 'the admin token is missing, or the installation refuses it', 'hitparade' );
	}
	if ( 0 === $code ) {
		return __( 'the installation does not answer', 'hitparade' );
	}
	/* translators: %d: a status of HTTP */
	return sprintf( __( 'the installation answered %d', 'hitparade' ), $code );
}

register_deactivation_hook( __FILE__, 'hitparade_deactivate' );
/** Nothing of it runs any more; what was set stays. */
function hitparade_deactivate() {
	wp_unschedule_hook( 'hitparade_send_card' );
	wp_unschedule_hook( 'hitparade_send_page' );
}

register_uninstall_hook( __FILE__, 'hitparade_uninstall' );
/** What it stored goes, on every site of a network. */
function hitparade_uninstall() {
	if ( ! is_multisite() ) {
		hitparade_forget();
		return;
	}
	foreach ( get_sites( array( 'fields' => 'ids', 'number' => 0 ) ) as $site_id ) {
		switch_to_blog( $site_id );
		hitparade_forget();
		restore_current_blog();
	}
}

/** What it stored for this site goes. Charts in an object cache expire. */
function hitparade_forget() {
	global $wpdb;
	hitparade_deactivate();
	delete_option( 'hitparade' );
	delete_option( 'hitparade_sending' );
	array_map( 'delete_option', array_map( 'hitparade_gone_option', hitparade_gone() ) );
	delete_post_meta_by_key( '_hitparade' );
	// phpcs:ignore WordPress.DB
	$names = $wpdb->get_col( $wpdb->prepare( "SELECT option_name FROM {$wpdb->options} WHERE option_name LIKE %s", $wpdb->esc_like( '_transient_hitparade_chart_' ) . '%' ) );
	foreach ( $names as $name ) {
		delete_transient( substr( $name, strlen( '_transient_' ) ) );
	}
}
